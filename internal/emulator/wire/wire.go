// Package wire holds the HTTP manners that the emulated Azure services share: JSON bodies, the error envelope, request
// ids, and the operation name under which a request is counted and logged.
//
// It refuses to log or keep anything a caller sends besides the method, the host and the operation: no header, no query
// and no body goes further than the handler. It stands between the proxy, which terminates TLS, and the services.
package wire

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// MaxBody is the largest request body that any emulated service reads, in bytes. The largest honest one, an imported
// RSA-4096 key, stays under 8 KiB.
const MaxBody = 1 << 20

// JSON answers with status and v as a JSON document.
func JSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"the reply has no JSON form"}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that hung up has no use for an error
}

// ErrTooLarge says that a body is longer than MaxBody.
var ErrTooLarge = errors.New("the request body is too large")

// Decode reads r's JSON body into v. An empty body leaves v as it is. Unknown fields are ignored, as Azure does.
func Decode(r *http.Request, v any) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return fmt.Errorf("read the request body: %w", err)
	}
	if len(data) > MaxBody {
		return ErrTooLarge
	}
	if len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, v)
}

// NewID returns a random version-4 UUID in the lower-case form that Azure prints.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
