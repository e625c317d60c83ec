package reconcile

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keysMemory is how long an answer about a decryption Secret serves everyone who asks: long enough for a burst of
// reconciles that share one Secret, too short for anybody to notice.
const keysMemory = time.Second

// keys answers whether the Secrets that hold decryption keys still hold the same. It keeps fingerprints, never keys.
type keys struct {
	reader client.Reader

	mu   sync.Mutex
	seen map[types.NamespacedName]keysAnswer
}

type keysAnswer struct {
	fingerprint string // empty: the Secret could not be read
	at          time.Time
}

func newKeys(r client.Reader) *keys {
	return &keys{reader: r, seen: map[types.NamespacedName]keysAnswer{}}
}

// unchanged says whether the Secret can be read and has the fingerprint. One read at a time; whoever waited for it shares
// its answer.
func (s *keys) unchanged(ctx context.Context, name types.NamespacedName, fingerprint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := s.seen[name]
	if !ok || time.Since(answer.at) > keysMemory {
		answer = keysAnswer{}
		if data, err := secretData(ctx, s.reader, name.Namespace, name.Name); err == nil {
			answer.fingerprint = fingerprintOf(data)
		}
		answer.at = time.Now()
		s.seen[name] = answer
	}
	return fingerprint != "" && answer.fingerprint == fingerprint
}
