package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// userAgent starts with "git/" because hosts and the walls in front of them tell Git traffic by it.
const userAgent = "git/2 sluice"

// session is one conversation with a remote's upload-pack, version 0 of Git's protocol: refs is called first and once,
// pack at most once after it. Version 2 would need two requests to list refs over HTTP.
type session interface {
	refs(context.Context) (*packp.AdvRefs, error)
	pack(context.Context, *packp.UploadPackRequest) (io.ReadCloser, error) // the raw reply
	close()
}

// request is what to ask a remote for.
type request struct {
	want   plumbing.Hash
	wants  []plumbing.Hash // besides want
	commit plumbing.Hash   // what must be there afterwards
	have   []plumbing.Hash // commits held with their whole tree
	whole  bool            // with history; else only the wanted commit
}

// demand words r for a remote with the given capabilities. What is held is declared shallow as well: its tree is here,
// its parents are not.
func (r request) demand(caps *capability.List) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequest()
	req.Wants = append([]plumbing.Hash{r.want}, r.wants...)
	// Azure DevOps refuses clients that do not offer multi_ack; readAcks understands all its forms.
	for _, c := range []capability.Capability{capability.MultiACKDetailed, capability.MultiACK, capability.OFSDelta,
		capability.Sideband64k, capability.NoProgress} {
		if caps.Supports(c) {
			_ = req.Capabilities.Set(c)
		}
	}
	if caps.Supports(capability.Agent) {
		_ = req.Capabilities.Set(capability.Agent, "git/2-sluice")
	}
	if !r.whole && caps.Supports(capability.Shallow) {
		_ = req.Capabilities.Set(capability.Shallow)
		req.Depth = packp.DepthCommits(1)
		if len(r.have) > 0 && caps.Supports(capability.ThinPack) {
			_ = req.Capabilities.Set(capability.ThinPack) // see completePack
		}
		req.Haves, req.Shallows = r.have, append([]plumbing.Hash(nil), r.have...)
	}
	return req
}

// errServer is what the remote said instead of sending a pack.
type errServer struct{ text string }

func (e *errServer) Error() string { return e.text }

// readPack reads a reply up to where the pack begins and returns the pack's bytes.
func readPack(raw io.Reader, req *packp.UploadPackRequest) (io.Reader, error) {
	r := bufio.NewReaderSize(raw, 64<<10)
	if !req.Depth.IsZero() {
		if err := readShallow(r); err != nil {
			return nil, err
		}
	}
	if err := readAcks(r); err != nil {
		return nil, err
	}
	if req.Capabilities.Supports(capability.Sideband64k) {
		return sideband.NewDemuxer(sideband.Sideband64k, r), nil
	}
	return r, nil
}

// readShallow reads past the list of commits that the remote cut. It needs no keeping: of every commit fetched, only
// its own tree is ever read.
func readShallow(r *bufio.Reader) error {
	s := pktline.NewScanner(r)
	for s.Scan() {
		line := s.Bytes()
		switch {
		case len(line) == 0:
			return nil
		case bytes.HasPrefix(line, []byte("shallow ")), bytes.HasPrefix(line, []byte("unshallow ")):
		default:
			return unexpected(line)
		}
	}
	return cutShort(s.Err())
}

// readAcks reads the acknowledgements, which end where a packet is none. "ACK <hash> common" and its like come first
// under multi_ack; "ACK <hash>" or NAK is last, sent twice by some.
func readAcks(r *bufio.Reader) error {
	for seen := 0; ; seen++ {
		ahead, err := r.Peek(7)
		if err != nil {
			return cutShort(err)
		}
		if word := string(ahead[4:7]); word != "ACK" && word != "NAK" {
			if seen > 0 {
				return nil
			}
			s := pktline.NewScanner(r)
			if !s.Scan() {
				return cutShort(s.Err())
			}
			return unexpected(s.Bytes())
		}
		if s := pktline.NewScanner(r); !s.Scan() {
			return cutShort(s.Err())
		}
	}
}

func unexpected(line []byte) error {
	if text, ok := bytes.CutPrefix(line, []byte("ERR ")); ok {
		return &errServer{text: quoted(string(text))}
	}
	return fmt.Errorf("unexpected reply %s", quoted(string(line)))
}

func cutShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// quoted shortens and cleans a remote's words for use in a message.
func quoted(s string) string {
	s = printable(s)
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}
