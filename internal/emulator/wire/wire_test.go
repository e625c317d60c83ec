package wire

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

func TestFailuresKeepAzuresEnvelope(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		body   string
	}{
		"plain": {&Failure{Status: 404, Code: "KeyNotFound", Message: "m"}, 404, `{"error":{"code":"KeyNotFound","message":"m"}}`},
		"inner": {fmt.Errorf("wrapped: %w", &Failure{Status: 403, Code: "Forbidden", Inner: "KeyDisabled", Message: "m"}), 403,
			`{"error":{"code":"Forbidden","message":"m","innererror":{"code":"KeyDisabled"}}}`},
		"full disk": {fmt.Errorf("write x: %w", syscall.ENOSPC), 507, "InsufficientStorage"},
		"quota":     {syscall.EDQUOT, 507, "InsufficientStorage"},
		"other":     {errors.New("broken"), 500, "InternalServerError"},
	} {
		w := httptest.NewRecorder()
		Fail(w, tt.err)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	var v any
	r := httptest.NewRequest("POST", "/", strings.NewReader(`"`+strings.Repeat("x", MaxBody)+`"`))
	if err := Decode(r, &v); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := Decode(httptest.NewRequest("POST", "/", nil), &v); err != nil || v != nil {
		t.Errorf("an empty body: %v, %v", v, err)
	}
}

func TestRequestsAreCountedOnceBeforeTheAnswer(t *testing.T) {
	rec := NewRecorder(slog.New(slog.DiscardHandler))
	seen := 0
	h := rec.Wrap("s", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Operation(r, "first")
		Operation(r, "second")
		seen = rec.Counts()["s/first"]
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if counts := rec.Counts(); seen != 1 || counts["s/first"] != 1 || len(counts) != 1 {
		t.Errorf("seen %d, counts %v", seen, counts)
	}
	rec.Wrap("s", http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if rec.Counts()["s/other"] != 1 {
		t.Error("a request without a name counts as other")
	}
}
