package wire

import (
	"errors"
	"net/http"
	"syscall"
)

// Failure is a refusal in Azure's words: the HTTP status and the body's code, message and inner code.
type Failure struct {
	Status  int
	Code    string
	Inner   string // innererror.code; Key Vault's reason
	Message string
	Header  http.Header // added to the answer; nil: none
}

// Error gives code and message; the inner code goes in parentheses.
func (f *Failure) Error() string {
	if f.Inner != "" {
		return f.Code + " (" + f.Inner + "): " + f.Message
	}
	return f.Code + ": " + f.Message
}

type envelope struct {
	Error envelopeError `json:"error"`
}

type envelopeError struct {
	Code       string      `json:"code"`
	Message    string      `json:"message"`
	InnerError *innerError `json:"innererror,omitempty"`
}

type innerError struct {
	Code string `json:"code"`
}

// Fail answers with err: a *Failure as it says, anything else as a failure of the emulator itself.
func Fail(w http.ResponseWriter, err error) {
	var f *Failure
	if !errors.As(err, &f) {
		f = broken(err)
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	body := envelope{envelopeError{Code: f.Code, Message: f.Message}}
	if f.Inner != "" {
		body.Error.InnerError = &innerError{f.Inner}
	}
	w.Header().Set("X-Ms-Error-Code", f.Code)
	JSON(w, f.Status, body)
}

// broken tells a full disk (507, which no Azure client retries) from every other inner failure (500).
func broken(err error) *Failure {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &Failure{
			Status: http.StatusInsufficientStorage, Code: "InsufficientStorage",
			Message: "the emulator's state folder has no space left; nothing was changed. " + err.Error(),
		}
	}
	return &Failure{
		Status: http.StatusInternalServerError, Code: "InternalServerError",
		Message: "the emulator could not carry this out; nothing was changed. " + err.Error(),
	}
}
