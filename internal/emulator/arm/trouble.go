package arm

import (
	"net/http"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Trouble is what tests make Resource Manager meet: requests it refuses and operations that fail after they were taken.
// There is no way to set it over the network.
type Trouble struct {
	// Refuse gives what a request meets instead of being carried out; nil: nothing. operation is its name in the
	// requests' counts without the service, such as put-cluster.
	Refuse func(operation string, r *http.Request) *wire.Failure
	// Late gives what an operation that is taken fails with at its end; nil: it succeeds.
	Late func(operation string) *wire.Failure
}

// SetTrouble makes later requests meet t; nil ends it.
func (s *Service) SetTrouble(t *Trouble) { s.trouble.Store(t) }

func (s *Service) meet(operation string, r *http.Request) error {
	if t := s.trouble.Load(); t != nil && t.Refuse != nil {
		if f := t.Refuse(operation, r); f != nil {
			return f
		}
	}
	return nil
}

func (s *Service) late(operation string) *wire.Failure {
	if t := s.trouble.Load(); t != nil && t.Late != nil {
		return t.Late(operation)
	}
	return nil
}
