package keyring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sort"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/shamir"
)

// session is one document's search for its data key.
type session struct {
	ring     *Ring
	part     *partition
	id       Identity
	attempts []attempt
}

// attempt is a recipient that did not give the key.
type attempt struct {
	recipient recipient.Key
	err       error
	plausible bool // the identity holds, or should hold, this recipient's private half
	absent    bool // the identity has no way to sign in there
}

// errNotOurs marks a recipient that the identity has no key for.
var errNotOurs = errors.New("the identity has no key for this recipient")

// dataKey opens one key group, or as many as the document's threshold asks for.
func (s *session) dataKey(ctx context.Context, doc *sops.Metadata) ([]byte, error) {
	need := 1
	if n := len(doc.KeyGroups); n > 1 {
		need = doc.ShamirThreshold
		if need <= 0 || need > n {
			need = n
		}
	}
	var got [][]byte
	for _, g := range doc.KeyGroups {
		part, err := s.open(ctx, g)
		if err != nil {
			return nil, err
		}
		if part == nil {
			continue
		}
		if got = append(got, part); len(got) < need {
			continue
		}
		if len(doc.KeyGroups) == 1 {
			return part, nil
		}
		key, err := shamir.Combine(got)
		for _, p := range got {
			clear(p)
		}
		if err != nil {
			return nil, partsDoNotFit(len(got))
		}
		return key, nil
	}
	for _, p := range got {
		clear(p)
	}
	return nil, s.explain(doc, len(got), need)
}

// open returns the group's part of the data key, nil if no recipient gave it. What is in memory comes first, then what
// costs no network. Its only errors are the context's.
func (s *session) open(ctx context.Context, g recipient.Group) ([]byte, error) {
	for _, k := range g {
		if part := s.ring.cache.get(s.key(k)); part != nil {
			s.ring.opts.Observe(true)
			return part, nil
		}
	}
	s.ring.opts.Observe(false)
	order := append(recipient.Group(nil), g...)
	sort.SliceStable(order, func(i, j int) bool { return s.rank(order[i]) < s.rank(order[j]) })
	for _, k := range order {
		part, err := s.unwrapOnce(ctx, k)
		if err == nil {
			return part, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.attempts = append(s.attempts, attempt{k, err, s.plausible(k) && !errors.Is(err, errNotOurs), s.cost(k) == 3})
	}
	return nil, nil
}

// rank orders the recipients of a group: as Options.Order names their kinds, others after them by what they cost.
func (s *session) rank(k recipient.Key) int {
	if i := slices.Index(s.ring.opts.Order, k.Kind()); i >= 0 {
		return i
	}
	return len(s.ring.opts.Order) + s.cost(k)
}

func (s *session) key(k recipient.Key) entryKey {
	return entryKey{s.part, k.Kind() + " " + k.String(), sha256.Sum256(k.Wrapped())}
}

// unwrapOnce lets callers that want the same key at the same time share one unwrapping. It goes on when the caller that
// began it leaves, because the others still wait.
func (s *session) unwrapOnce(ctx context.Context, k recipient.Key) ([]byte, error) {
	key := s.key(k)
	result := s.part.flights.DoChan(key.key+string(key.enc[:]), func() (any, error) {
		if part := s.ring.cache.get(key); part != nil {
			return part, nil
		}
		caller := context.WithoutCancel(ctx)
		ctx, cancel := context.WithTimeout(caller, s.ring.opts.Timeout)
		defer cancel()
		part, err := s.guarded(ctx, k)
		err = NoAnswer(caller, err, describe(k), s.ring.opts.Timeout)
		if err == nil {
			s.ring.cache.put(key, part)
		} else if turnedAway(err) {
			s.ring.cache.drop(s.part)
		}
		return part, err
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return bytes.Clone(r.Val.([]byte)), nil // others may hold the same slice
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// guarded turns a provider's panic over forged input into an error: in a flight nobody else could catch it.
func (s *session) guarded(ctx context.Context, k recipient.Key) (part []byte, err error) {
	defer func() {
		if recover() != nil {
			part, err = nil, undecryptable(describe(k))
		}
	}()
	return s.unwrap(ctx, k)
}

// turnedAway reports whether a vault or Entra ID refused the identity itself: what it unwrapped before is no longer its
// to use.
func turnedAway(err error) bool {
	var refused *identity.Refused
	return keyvault.Denied(err) || errors.As(err, &refused) || kms.Denied(err)
}
