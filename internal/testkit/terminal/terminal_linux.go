package terminal

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal with a person before it.
type Terminal struct {
	Tty *os.File // what the command under test has as its stdin and stderr

	t      testing.TB
	person *os.File
	mu     sync.Mutex
	seen   strings.Builder
}

// New opens a terminal for the length of the test.
func New(t testing.TB) *Terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := person.SyscallConn() // not Fd, which would make reads outlive Close
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &Terminal{Tty: tty, t: t, person: person}
	var wg sync.WaitGroup
	wg.Go(term.read)
	t.Cleanup(func() {
		_ = tty.Close()
		_ = person.Close()
		wg.Wait()
	})
	return term
}

func (m *Terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := m.person.Read(buf)
		m.mu.Lock()
		m.seen.Write(buf[:n])
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Seen is all that stands on the screen.
func (m *Terminal) Seen() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen.String()
}

// Await waits until a text stands on the screen.
func (m *Terminal) Await(text string) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(m.Seen(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%q was never asked:\n%s", text, m.Seen())
		}
	}
}

// Type answers with a line.
func (m *Terminal) Type(line string) {
	m.t.Helper()
	if _, err := m.person.WriteString(line + "\n"); err != nil {
		m.t.Fatal(err)
	}
}
