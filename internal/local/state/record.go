package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Condition is how far a platform has come.
type Condition string

// The conditions of a platform. After `down`, and before the first `up`, it is Stopped.
const (
	Stopped  Condition = "Stopped"
	Starting Condition = "Starting"
	Ready    Condition = "Ready"
	Failed   Condition = "Failed"
)

// Process identifies a process beyond the reuse of its number.
type Process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // opaque start time, see package process
}

// Options are what `up` was asked for; a later `up` without them means the same.
type Options struct {
	Repo string `json:"repo,omitempty"` // absolute path of the user's repository; empty: the sample
	Path string `json:"path,omitempty"` // path of the cluster inside the repository, such as ./gitops/aks
}

// Azure is what the azure step made, none of it secret.
type Azure struct {
	TenantID       string `json:"tenantID,omitempty"`
	SubscriptionID string `json:"subscriptionID,omitempty"`
	ResourceGroup  string `json:"resourceGroup,omitempty"`
	Identity       string `json:"identity,omitempty"`
	ClientID       string `json:"clientID,omitempty"`
	PrincipalID    string `json:"principalID,omitempty"`
	Vault          string `json:"vault,omitempty"`
	KeyURL         string `json:"keyURL,omitempty"` // with version
}

// Record is platform.json: what the platform is, and what of it runs.
type Record struct {
	State      Condition `json:"state"`
	Supervisor *Process  `json:"supervisor,omitempty"`
	Children   []Process `json:"children,omitempty"`
	Ports      Ports     `json:"ports"`
	Options    Options   `json:"options"`
	Azure      Azure     `json:"azure"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	Version    string    `json:"version,omitempty"` // of the supervisor
	// EventsFrom is the offset in events.ndjson at which the present run begins.
	EventsFrom int64 `json:"eventsFrom,omitempty"`
	// LogFrom is the same for logs/platform.log.
	LogFrom int64 `json:"logFrom,omitempty"`
}

// Load reads d's record. A folder without one gives a Stopped record; a broken one is a fault.
func Load(d Dir) (*Record, error) {
	raw, err := os.ReadFile(d.RecordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return &Record{State: Stopped}, nil
	}
	if err != nil {
		return nil, unusable(d, err)
	}
	r := &Record{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", d.RecordFile(), err)
	}
	return r, nil
}

// Save writes r as d's record.
func (r *Record) Save(d Dir) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := WriteFile(d.RecordFile(), append(raw, '\n'), 0o600); err != nil {
		return unusable(d, err)
	}
	return nil
}

// Keeper is the record as its single writer holds it: changes are made under a lock and saved at once.
type Keeper struct {
	dir Dir
	mu  sync.Mutex
	rec *Record
}

// NewKeeper keeps r, the record of d.
func NewKeeper(d Dir, r *Record) *Keeper { return &Keeper{dir: d, rec: r} }

// Update applies change and saves the record.
func (k *Keeper) Update(change func(*Record)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.rec)
	return k.rec.Save(k.dir)
}

// Get returns a copy of the record.
func (k *Keeper) Get() Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := *k.rec
	r.Children = append([]Process(nil), k.rec.Children...)
	return r
}
