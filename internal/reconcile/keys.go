package reconcile

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keysMemory is how long a read of a decryption Secret serves everyone who asks: long enough for a burst of reconciles
// that share one Secret, too short for anybody to notice.
const keysMemory = time.Second

// keys reads the Secrets that hold decryption keys, once for a burst of reconciles. What it read is gone after
// keysMemory.
type keys struct {
	reader client.Reader

	mu    sync.Mutex
	reads map[keysQuestion]*keysRead
}

// keysQuestion is what reads are shared by. Whoever asks for a reconcile may have changed the Secret a moment ago, so what
// was read without being asked for is no answer then.
type keysQuestion struct {
	types.NamespacedName
	demanded bool
}

// keysRead is one read of a Secret.
type keysRead struct {
	done        chan struct{} // closed when the rest is set
	data        map[string][]byte
	fingerprint string // empty: the Secret could not be read
	err         error
}

func newKeys(r client.Reader) *keys {
	return &keys{reader: r, reads: map[keysQuestion]*keysRead{}}
}

// read returns the Secret's content and its fingerprint. Unless fresh, a read of the last moment or one that is under way
// will do. Only success is shared: whoever waited for a read that failed makes one of their own.
func (s *keys) read(ctx context.Context, name types.NamespacedName, fresh bool) (data map[string][]byte, fingerprint string, err error) {
	if fresh {
		r := &keysRead{}
		s.fill(ctx, name, r)
		return r.data, r.fingerprint, r.err
	}
	return s.share(ctx, keysQuestion{name, false})
}

func (s *keys) share(ctx context.Context, q keysQuestion) (data map[string][]byte, fingerprint string, err error) {
	s.mu.Lock()
	r := s.reads[q]
	if r == nil {
		r = &keysRead{done: make(chan struct{})}
		s.reads[q] = r
		s.mu.Unlock()
		s.lead(ctx, q, r)
		return r.data, r.fingerprint, r.err
	}
	s.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	if r.err != nil {
		return s.read(ctx, q.NamespacedName, true)
	}
	return r.data, r.fingerprint, nil
}

// lead makes the read r for everyone who waits for it.
func (s *keys) lead(ctx context.Context, q keysQuestion, r *keysRead) {
	s.fill(ctx, q.NamespacedName, r)
	close(r.done)
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.reads, q)
	}
	if r.err != nil {
		forget()
	} else {
		time.AfterFunc(keysMemory, forget)
	}
}

func (s *keys) fill(ctx context.Context, name types.NamespacedName, r *keysRead) {
	if r.data, r.err = secretData(ctx, s.reader, name.Namespace, name.Name); r.err == nil {
		r.fingerprint = fingerprintOf(r.data)
	}
}

// unchanged says, to someone who asks for a reconcile, whether the Secret can be read and has the fingerprint.
func (s *keys) unchanged(ctx context.Context, name types.NamespacedName, fingerprint string) bool {
	_, now, err := s.share(ctx, keysQuestion{name, true})
	return err == nil && fingerprint != "" && now == fingerprint
}
