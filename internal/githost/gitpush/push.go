package gitpush

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// errRefused is a push that reached the server and was turned down there.
type errRefused struct {
	status string // of the reference, as receive-pack reports it
	said   string // what hooks printed
}

func (e *errRefused) Error() string { return e.status }

// push moves the branch from one head to the next, which must stand directly on it, and sends the objects.
func (r Remote) push(ctx context.Context, from, to *Head, objects []plumbing.Hash) error {
	client, ep, auth, err := r.connect()
	if err != nil {
		return err
	}
	s, err := client.NewReceivePackSession(ep, auth)
	if err != nil {
		return err
	}
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return err
	}
	if refs == nil {
		refs = packp.NewAdvRefs()
	}
	var said bytes.Buffer
	req := packp.NewReferenceUpdateRequestFromCapabilities(refs.Capabilities)
	if refs.Capabilities.Supports(capability.Sideband64k) {
		_ = req.Capabilities.Set(capability.Sideband64k)
		req.Progress = &said
	}
	command := &packp.Command{Name: plumbing.NewBranchReferenceName(to.Branch), New: plumbing.NewHash(to.Commit)}
	if from.Commit != "" {
		command.Old = plumbing.NewHash(from.Commit)
	}
	req.Commands = []*packp.Command{command}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, to.store, false).Encode(objects, 0); err != nil {
		return err
	}
	req.Packfile = io.NopCloser(&pack)
	report, err := s.ReceivePack(ctx, req)
	if report != nil {
		for _, c := range report.CommandStatuses {
			if c.Error() != nil {
				return &errRefused{status: c.Status, said: words(said.String())}
			}
		}
	}
	return err
}

// words makes one line of what a remote printed, without control characters, and short.
func words(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	return text
}
