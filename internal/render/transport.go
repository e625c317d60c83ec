package render

import (
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"strings"
)

// The walk refuses every remote reference it can see, which is all of them but one kind: plugin configurations may be the
// result of a build (a kustomization listed under transformers, patched), and only kustomize knows what they say then.
// kustomize's HTTP client cannot be set; it uses http.DefaultTransport. Replacing that would break whoever expects an
// *http.Transport there, and refusing all its requests would break other users of it in this process. Its Proxy function,
// however, is asked in the goroutine of the caller before anything is dialled: it refuses when the call comes from
// kustomize's loader and otherwise answers as before. Copies made with Clone carry it along and behave the same. What is
// left is an idle HTTP/2 connection that someone else opened through the same transport: net/http reuses it unasked.
func init() {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return
	}
	next := t.Proxy
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		if calledByKustomize() {
			return nil, errRemote
		}
		if next == nil {
			return nil, nil
		}
		return next(req)
	}
}

var errRemote = errors.New("remote references are not fetched")

func calledByKustomize() bool {
	pcs := make([]uintptr, 64)
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs)
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for {
			f, more := frames.Next()
			if strings.HasPrefix(f.Function, "sigs.k8s.io/kustomize/") {
				return true
			}
			if !more {
				break
			}
		}
	}
}
