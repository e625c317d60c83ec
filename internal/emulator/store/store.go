// Package store keeps what the emulated Azure knows under one folder: a JSON document of all objects, and one PKCS#8
// file per private key.
//
// Every change is made on a copy, written to a temporary file, synced and renamed before anyone sees it, so the folder
// holds one complete state at every instant: kill -9 and a full disk lose at most the change under way. It refuses a
// folder that another process holds, and a state from a newer version. It knows no HTTP and no rule of Azure's: the
// services decide, the store remembers.
package store

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
	"github.com/sluice-gitops/sluice/internal/fault"
)

const (
	stateName = "state.json"
	keysName  = "keys"
)

// Store is one opened state folder.
type Store struct {
	dir     string
	unlock  func() error
	current atomic.Pointer[State]

	writing sync.Mutex // held from copy to rename
	refuse  error      // test hook: what every write meets

	keys    sync.Mutex
	private map[string]*rsa.PrivateKey
}

// Open loads the state under dir, or makes a new one with fresh ids and no objects. Its errors that a user can meet
// are faults of hop platform.
func Open(dir string) (*Store, error) {
	if err := prepare(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, unlock: unlock, private: map[string]*rsa.PrivateKey{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return s, nil
}

func prepare(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, keysName)} {
		err := os.MkdirAll(d, 0o700)
		if err == nil {
			err = os.Chmod(d, 0o700) // the folder may be older, and laxer
		}
		if err != nil {
			return &fault.Fault{
				Code: "SLU-PLATFORM-101", Hop: fault.HopPlatform, Object: dir, Err: err,
				Seen: err.Error(), Why: "the emulator keeps its state there",
				Fix: "make the folder writable for this user, or name another with --state-dir",
			}
		}
		sweep(d)
	}
	return nil
}

func (s *Store) load() error {
	state, err := Read(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s.save(fresh())
	}
	if err != nil {
		return err
	}
	s.current.Store(state)
	s.dropOrphans()
	return nil
}

// Read returns the state under dir without opening the folder: a snapshot for those who only want to know. The error
// matches fs.ErrNotExist when there is none.
func Read(dir string) (*State, error) {
	path := filepath.Join(dir, stateName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the emulator's state: %w", err)
	}
	var header struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &header); err != nil || header.Version < 1 {
		return nil, damaged(path, err)
	}
	if header.Version > Version {
		return nil, &fault.Fault{
			Code: "SLU-PLATFORM-102", Hop: fault.HopPlatform, Object: path,
			Seen: fmt.Sprintf("the state has format %d", header.Version),
			Why:  fmt.Sprintf("this build reads formats up to %d: a newer sluice wrote it", Version),
			Fix:  "use that newer sluice, or name another folder with --state-dir",
		}
	}
	state := &State{}
	if err := json.Unmarshal(data, state); err != nil {
		return nil, damaged(path, err)
	}
	state.fill()
	return state, nil
}

func damaged(path string, err error) error {
	return &fault.Fault{
		Code: "SLU-PLATFORM-103", Hop: fault.HopPlatform, Object: path, Err: err,
		Seen: "the file is not a state of the emulator", Why: "it was changed or damaged by something else",
		Fix: "restore it from a backup, or start anew with: sluice down --purge",
	}
}

func fresh() *State {
	s := &State{
		Version: Version, Tenant: wire.NewID(), Subscription: wire.NewID(), Region: "westeurope", IssuerID: wire.NewID(),
		Developer: Developer{ClientID: wire.NewID(), ObjectID: wire.NewID(), Secret: newSecret()},
	}
	s.fill()
	return s
}

// fill makes every map usable.
func (s *State) fill() {
	ensure(&s.Groups)
	ensure(&s.Identities)
	ensure(&s.Vaults)
	ensure(&s.Clusters)
	ensure(&s.Assignments)
	ensure(&s.Operations)
	ensure(&s.Providers)
	for _, identity := range s.Identities {
		ensure(&identity.Credentials)
	}
	for _, vault := range s.Vaults {
		ensure(&vault.Keys)
	}
}

func ensure[V any](m *map[string]V) {
	if *m == nil {
		*m = map[string]V{}
	}
}

// State returns the state as it stands. It's shared: read it, never change it.
func (s *Store) State() *State { return s.current.Load() }

// Update hands change a copy of the state and makes the result the state once it is on disk. An error from change, or
// from the disk, leaves everything as it was.
func (s *Store) Update(change func(*State) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	next, err := s.current.Load().clone()
	if err != nil {
		return err
	}
	if err := change(next); err != nil {
		return err
	}
	return s.save(next)
}

func (s *State) clone() (*State, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	next := &State{}
	if err := json.Unmarshal(data, next); err != nil {
		return nil, err
	}
	next.fill()
	return next, nil
}

func (s *Store) save(next *State) error {
	data, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return err
	}
	if err := s.write(filepath.Join(s.dir, stateName), data); err != nil {
		return err
	}
	s.current.Store(next)
	return nil
}

func (s *Store) write(path string, data []byte) error {
	if s.refuse != nil {
		return fmt.Errorf("write %s: %w", path, s.refuse)
	}
	return WriteFile(path, data)
}

// RefuseWrites makes every later write meet err, as a full disk would (nil: writes work again). For tests.
func (s *Store) RefuseWrites(err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.keys.Lock()
	defer s.keys.Unlock()
	s.refuse = err
}

// Close lets another process open the folder. The store must not be used afterwards.
func (s *Store) Close() error { return s.unlock() }
