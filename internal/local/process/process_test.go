package process

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// TestMain lets the test binary play the children: SLUICE_TEST_ROLE names the part.
func TestMain(m *testing.M) {
	switch os.Getenv("SLUICE_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "wait": // ends on SIGTERM
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("ready")
		<-ch
	case "stubborn": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		select {}
	case "crash":
		os.Exit(3)
	case "supervisor": // starts a child and prints its id
		c, err := Start(spec(state.Dir(os.Getenv("SLUICE_TEST_DIR")), "wait"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.ID().PID, c.ID().Start)
		select {}
	}
}

func spec(d state.Dir, role string) Spec {
	return Spec{Name: role, Owner: d, Path: os.Args[0], Env: []string{"SLUICE_TEST_ROLE=" + role}, Log: filepath.Join(string(d), role+".log")}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func startReady(t *testing.T, s Spec) *Child {
	t.Helper()
	ready := make(chan struct{})
	s.Line = func(line string) {
		if line == "ready" {
			close(ready)
		}
	}
	c, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(0) })
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the child never got ready")
	}
	return c
}

func TestStopEndsAChildByAskingAndAStubbornOneByForce(t *testing.T) {
	d := state.Dir(t.TempDir())
	c := startReady(t, spec(d, "wait"))
	c.Stop(10 * time.Second)
	if c.Err() != nil {
		t.Errorf("asked to end, it said %v", c.Err())
	}
	c = startReady(t, spec(d, "stubborn"))
	if !Alive(c.ID()) {
		t.Error("a running child counts as dead")
	}
	c.Stop(10 * time.Millisecond)
	if c.Err() == nil || Alive(c.ID()) {
		t.Errorf("still alive, or a polite end: %v", c.Err())
	}
}

func TestAChildDiesWithAKilledSupervisor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("death signals are Linux's")
	}
	d := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"SLUICE_TEST_ROLE=supervisor", "SLUICE_TEST_DIR=" + d}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, start, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, _ := strconv.Atoi(pid)
	child := state.Process{PID: n, Start: start}
	if !Alive(child) {
		t.Fatalf("no child: %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the child is gone", func() bool { return !Alive(child) })
}

func TestLeftoversAreFoundByRecordAndByMarkAndEnded(t *testing.T) {
	d := state.Dir(t.TempDir())
	recorded := startReady(t, spec(d, "wait")).ID()
	other := startReady(t, spec(state.Dir(t.TempDir()), "wait"))
	gone := state.Process{Name: "old", PID: other.ID().PID, Start: "another time"}
	found := Leftovers(d, []state.Process{recorded, gone})
	if len(found) != 1 || found[0].PID != recorded.PID {
		t.Fatalf("found %v, want only %v", found, recorded)
	}
	if runtime.GOOS == "linux" {
		if found := Leftovers(d, nil); len(found) != 1 || found[0].PID != recorded.PID {
			t.Errorf("by mark: %v", found)
		}
	}
	End(found, 10*time.Second)
	if Alive(recorded) || !Alive(other.ID()) {
		t.Errorf("recorded alive: %v, other platform's alive: %v", Alive(recorded), Alive(other.ID()))
	}
}

func TestKeepStartsAgainAndStopsWithItsContext(t *testing.T) {
	d := state.Dir(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan state.Process, 10)
	exits := make(chan time.Duration, 10)
	done := make(chan struct{})
	role := "crash"
	go func() {
		defer close(done)
		Keep(ctx, 20*time.Millisecond, func() (Spec, error) { return spec(d, role), nil }, Hooks{
			Started: func(p state.Process) { started <- p },
			Exited: func(_ state.Process, err error, again time.Duration) {
				if err == nil {
					t.Error("a crash has no error")
				}
				exits <- again
				role = "wait"
			},
		})
	}()
	<-started
	if again := <-exits; again != 0 {
		t.Errorf("the first restart waits %v", again)
	}
	p := <-started
	eventually(t, "the second child runs", func() bool { return Alive(p) })
	cancel()
	<-done
	if Alive(p) {
		t.Error("the child outlived Keep")
	}
}

func TestPortOwnerNamesThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := PortOwner(l.Addr().(*net.TCPAddr).Port); !strings.Contains(got, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("owner = %q", got)
	}
}
