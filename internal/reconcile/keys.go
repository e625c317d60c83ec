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
	reads map[types.NamespacedName]*keysRead
}

// keysRead is one read of a Secret.
type keysRead struct {
	done        chan struct{} // closed when the rest is set
	data        map[string][]byte
	fingerprint string // empty: the Secret could not be read
	err         error
}

func newKeys(r client.Reader) *keys {
	return &keys{reader: r, reads: map[types.NamespacedName]*keysRead{}}
}

// read returns the Secret's content and its fingerprint. Unless fresh, a read of the last moment or one that is under way
// will do. Only success is shared: whoever waited for a read that failed makes one of their own.
func (s *keys) read(ctx context.Context, name types.NamespacedName, fresh bool) (data map[string][]byte, fingerprint string, err error) {
	s.mu.Lock()
	r := s.reads[name]
	if r == nil || fresh {
		r = &keysRead{done: make(chan struct{})}
		s.reads[name] = r
		s.mu.Unlock()
		return s.lead(ctx, name, r)
	}
	s.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	if r.err != nil {
		return s.read(ctx, name, true)
	}
	return r.data, r.fingerprint, nil
}

// lead makes the read r for everyone who waits for it.
func (s *keys) lead(ctx context.Context, name types.NamespacedName, r *keysRead) (map[string][]byte, string, error) {
	if r.data, r.err = secretData(ctx, s.reader, name.Namespace, name.Name); r.err == nil {
		r.fingerprint = fingerprintOf(r.data)
	}
	close(r.done)
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reads[name] == r {
			delete(s.reads, name)
		}
	}
	if r.err != nil {
		forget()
	} else {
		time.AfterFunc(keysMemory, forget)
	}
	return r.data, r.fingerprint, r.err
}

// unchanged says whether the Secret can be read and has the fingerprint.
func (s *keys) unchanged(ctx context.Context, name types.NamespacedName, fingerprint string) bool {
	_, now, err := s.read(ctx, name, false)
	return err == nil && fingerprint != "" && now == fingerprint
}
