// Package issuer serves the OpenID documents of the local cluster's service-account issuer, under the URL that an AKS
// cluster would have: https://{region}.oic.prod-aks.azure.com/{tenant}/{uuid}/, where the trailing slash is part of the
// issuer's name.
//
// The documents are the API server's own, fetched anew for every request, so a changed signing key shows at once. It
// refuses to answer for any other tenant or cluster, and makes up nothing while the API server is away. Entra ID reads
// the documents through Fetch, other clients over HTTPS.
package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Domain is what every AKS issuer's host name ends with.
const Domain = "oic.prod-aks.azure.com"

// Paths of the two documents, under the issuer and at the API server alike.
const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/openid/v1/jwks"
)

// patience is how long the API server may take.
const patience = 10 * time.Second

// Backend gets one of the API server's discovery documents by its path.
type Backend func(ctx context.Context, path string) ([]byte, error)

// ErrNotFound says that no cluster has the issuer asked for.
var ErrNotFound = errors.New("no cluster has this issuer")

// errNoBackend says that the cluster has not been started yet.
var errNoBackend = errors.New("the cluster's API server is not running")

// Service answers for one issuer.
type Service struct {
	url string // https://host/tenant/uuid/

	mu      sync.RWMutex
	backend Backend
}

// New returns the service for the issuer url, which ends in a slash.
func New(url string) *Service { return &Service{url: url} }

// SetBackend names where the documents come from; nil: nowhere.
func (s *Service) SetBackend(b Backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backend = b
}

// Fetch returns the document at url, one of the two under the issuer. The error matches ErrNotFound for any other url.
func (s *Service) Fetch(ctx context.Context, url string) ([]byte, error) {
	rest, ok := strings.CutPrefix(url, strings.TrimSuffix(s.url, "/"))
	if !ok || rest != discoveryPath && rest != keysPath {
		return nil, ErrNotFound
	}
	s.mu.RLock()
	backend := s.backend
	s.mu.RUnlock()
	if backend == nil {
		return nil, errNoBackend
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	data, err := backend(ctx, rest)
	if err != nil {
		return nil, fmt.Errorf("the cluster's API server does not give %s: %w", rest, err)
	}
	if rest == discoveryPath {
		return s.published(data)
	}
	return data, nil
}

// published is the API server's discovery document as AKS publishes it: the keys are found under the issuer, not at the
// API server's own address. The issuer's name stays what the API server says, for others to compare.
func (s *Service) published(data []byte) ([]byte, error) {
	document := map[string]any{}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, errors.New("the cluster's API server gives no discovery document")
	}
	document["jwks_uri"] = strings.TrimSuffix(s.url, "/") + keysPath
	return json.Marshal(document)
}

// ServeHTTP answers GET for the two documents.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, discoveryPath):
		wire.Operation(r, "openid-configuration")
	case strings.HasSuffix(r.URL.Path, keysPath):
		wire.Operation(r, "jwks")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	data, err := s.Fetch(r.Context(), "https://"+r.Host+r.URL.Path)
	switch {
	case errors.Is(err, ErrNotFound):
		wire.Fail(w, &wire.Failure{Status: http.StatusNotFound, Code: "NotFound", Message: err.Error()})
	case err != nil:
		wire.Fail(w, &wire.Failure{Status: http.StatusBadGateway, Code: "BadGateway", Message: err.Error()})
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data)
	}
}
