package cli

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	emulated "github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// pair lets two processes send each change at the same moment: one that is about to waits for the other to be, or to end.
type pair struct {
	mu      sync.Mutex
	cond    *sync.Cond
	waiting int
	ended   bool
	rounds  int // changes that both were about to send
	round   int
}

func newPair() *pair {
	p := &pair{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// meet is a door's before.
func (p *pair) meet(r *http.Request) bool {
	if !changes(r) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	if p.waiting == 2 {
		p.waiting, p.round, p.rounds = 0, p.round+1, p.rounds+1
		p.cond.Broadcast()
		return false
	}
	for mine := p.round; p.round == mine && !p.ended; {
		p.cond.Wait()
	}
	return false
}

func (p *pair) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.cond.Broadcast()
}

// TestTwoProcessesAtOnceMakeOne runs the program twice at once, in step from change to change, so that each is decided by
// who is a moment earlier. Both must end well and make what one makes, and the later one says what the other one made.
func TestTwoProcessesAtOnceMakeOne(t *testing.T) {
	for name, k := range killings {
		if k.args[0] != "provision" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template, want, requests := undisturbed(t, k)
			s := openSubscription(t, template, swift)
			step := newPair()
			var said [2]string
			var both sync.WaitGroup
			for i := range said {
				d := openDoor(t, s)
				d.before = step.meet
				both.Go(func() {
					defer step.end()
					code, stderr := d.sluice(t, k.args...)
					if said[i] = stderr; code != 0 {
						t.Errorf("exit %d\n%s", code, stderr)
					}
				})
			}
			both.Wait()
			if step.rounds == 0 {
				t.Errorf("the two never met, in %d changes", requests)
			}
			// Who makes or recovers something finds it there. Two that update write the same twice: when the first has
			// ended by then, Azure answers the second as it did the first, and there is nothing to tell.
			updates := !strings.Contains(said[0]+said[1], "✓ create") && !strings.Contains(said[0]+said[1], "✓ recover")
			if text := said[0] + said[1]; !updates && !strings.Contains(text, "somebody else was first") {
				t.Errorf("neither speaks of the other:\n%s", text)
			}
			if got, err := s.everything(); err != nil || got != want {
				t.Errorf("%v; the subscription is\n%s\nand not\n%s", err, got, want)
			}
		})
	}
}

// What Azure is still making for a process that was killed is waited for by the next, which says so.
func TestWhatAKilledProcessBeganIsWaitedFor(t *testing.T) {
	long := 3 * time.Second // longer than a process takes to come to ask
	for name, tt := range map[string]struct {
		pace emulated.Pace
		kill string // suffix of the path of the PUT that it is killed after
		says string
	}{
		"a cluster": {emulated.Pace{Cluster: long}, "/managedClusters/sluice-aks", "await AKS cluster sluice-aks"},
		"a vault":   {emulated.Pace{Vault: long}, "/vaults/of-tests", "await key vault of-tests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSubscription(t, t.TempDir(), &tt.pace)
			d := openDoor(t, s)
			d.after = func(r *http.Request) bool {
				return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, tt.kill)
			}
			args := []string{"provision", "-g", "g", "--vault", "of-tests", "--progress", "plain"}
			if code, stderr := d.sluice(t, args...); code != -1 {
				t.Fatalf("it was not killed but ended with %d\n%s", code, stderr)
			}
			d.after = nil
			if code, stderr := d.sluice(t, args...); code != 0 || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit %d\n%s", code, stderr)
			}
		})
	}
}

// Azure writes an identity's credentials one after another and not often; the program as users have it tries again by
// itself, when Azure says.
func TestThrottledAndConcurrentCredentialWritesAreTriedAgain(t *testing.T) {
	for name, f := range map[string]*wire.Failure{
		"throttled":  {Status: http.StatusTooManyRequests, Code: "TooManyRequests", Message: "Slow down.", Header: http.Header{"Retry-After": {"1"}}},
		"concurrent": {Status: http.StatusConflict, Code: "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity", Message: "Too many."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSubscription(t, t.TempDir(), swift)
			refused := 0
			s.SetTrouble(&emulated.Trouble{Refuse: func(operation string, _ *http.Request) *wire.Failure {
				if operation != "put-federation" || refused == 2 {
					return nil
				}
				refused++
				return f
			}})
			if code, stderr := openDoor(t, s).sluice(t, "provision", "-g", "g"); code != 0 || refused != 2 {
				t.Errorf("exit %d after %d refusals\n%s", code, refused, stderr)
			}
		})
	}
}
