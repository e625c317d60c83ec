package entra

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// failure is a refusal of the token endpoint: status and OAuth error, Microsoft's number, and what was wrong.
type failure struct {
	status int
	oauth  string
	code   int
	text   string
}

// Error gives the refusal as its description begins.
func (f *failure) Error() string { return fmt.Sprintf("AADSTS%d: %s", f.code, f.text) }

func badRequest(oauth string, code int, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, oauth, code, fmt.Sprintf(format, args...)}
}

func badClient(code int, format string, args ...any) *failure {
	return &failure{http.StatusUnauthorized, "invalid_client", code, fmt.Sprintf(format, args...)}
}

func unknownTenant(tenant string) *failure {
	return badRequest("invalid_tenant", 90002,
		"Tenant '%s' not found. Check that the tenant ID is right and that the right cloud is used.", clip(tenant))
}

// clip keeps echoes of what a caller sent short.
func clip(s string) string {
	const most = 600 // Azure's own limit for issuers and subjects
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// refuse answers in the shape that MSAL reads: the ids are repeated in the description, where people look for them.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, f *failure) {
	trace, correlation := wire.NewID(), r.Header.Get("Client-Request-Id")
	if correlation == "" {
		correlation = wire.NewID()
	}
	stamp := s.now().UTC().Format("2006-01-02 15:04:05Z")
	wire.JSON(w, f.status, map[string]any{
		"error": f.oauth,
		"error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s",
			f.Error(), trace, correlation, stamp),
		"error_codes":    []int{f.code},
		"timestamp":      stamp,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      fmt.Sprintf("https://%s/error?code=%d", Host, f.code),
	})
}

// echoRequestID returns the caller's correlation id when it asks for that.
func echoRequestID(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Client-Request-Id")
	if id != "" && strings.EqualFold(r.Header.Get("Return-Client-Request-Id"), "true") {
		w.Header().Set("Client-Request-Id", id)
	}
}
