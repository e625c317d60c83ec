package local

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

func TestExportLinesSurviveAShell(t *testing.T) {
	nasty := `/home/o'neil/$HOME "x" \n` + "`date`"
	line := Variable{Name: "VALUE", Value: nasty}.Export() + "; " + Variable{Name: "PATH", Value: nasty, Prepend: true}.Export()
	out, err := exec.Command("/bin/sh", "-c", "PATH=/usr/bin; "+line+`; printf '%s\n%s' "$VALUE" "$PATH"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := nasty + "\n" + nasty + ":/usr/bin"; string(out) != want {
		t.Errorf("the shell read\n%s\nwant\n%s", out, want)
	}
}

func TestEnvironmentNeedsAPlatformButNotARunningOne(t *testing.T) {
	d := state.Dir(filepath.Join(t.TempDir(), "s"))
	if _, err := Environment(d); fault.ExitCode(err) != fault.ExitNo || fault.From(err).Fix == "" {
		t.Errorf("without a platform: %v", err)
	}
	if err := state.Create(d); err != nil {
		t.Fatal(err)
	}
	em, err := emulator.Open(emulator.Options{Dir: d.Emulator()})
	if err != nil {
		t.Fatal(err)
	}
	if err := em.Close(); err != nil {
		t.Fatal(err)
	}
	rec := state.Record{State: state.Stopped}
	rec.Ports.Proxy = 12345
	if err := rec.Save(d); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()) // no kubectl
	vars, err := Environment(d)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range vars {
		got[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		"HTTPS_PROXY": "http://127.0.0.1:12345", "KUBECONFIG": d.Kubeconfig(), "SSL_CERT_FILE": d.CABundle(), "REQUESTS_CA_BUNDLE": d.CABundle(),
		"AZURE_TENANT_ID": em.Env().TenantID, "AZURE_CLIENT_ID": em.Env().DeveloperClientID, "AZURE_CLIENT_SECRET": em.Env().DeveloperSecret,
		"AZURE_SUBSCRIPTION_ID": em.Env().SubscriptionID, "PATH": d.Bin(), "NO_PROXY": noProxy,
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestForgetExportedKeepsTheUsersOwnProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.corp:8080")
	t.Setenv("AZURE_CLIENT_SECRET", "s")
	t.Setenv("KUBECONFIG", "k")
	forgetExported()
	if os.Getenv("HTTPS_PROXY") == "" || os.Getenv("AZURE_CLIENT_SECRET") != "" || os.Getenv("KUBECONFIG") != "" {
		t.Error("the user's proxy is gone, or credentials are not")
	}
	t.Setenv(marker, "/some/platform")
	forgetExported()
	if v, set := os.LookupEnv("HTTPS_PROXY"); set {
		t.Errorf("after sluice env, HTTPS_PROXY is still %q", v)
	}
}

func TestSettleKeepsEarlierOptionsUnlessAskedOtherwise(t *testing.T) {
	for _, tt := range []struct {
		repo, path string
		was, want  state.Options
	}{
		{"", "", state.Options{}, state.Options{Path: "./gitops/aks"}},
		{"", "", state.Options{Repo: "/r", Path: "./c"}, state.Options{Repo: "/r", Path: "./c"}},
		{"/r", "clusters/../clusters/home/", state.Options{}, state.Options{Repo: "/r", Path: "./clusters/home"}},
		{"/other", "", state.Options{Repo: "/r", Path: "./c"}, state.Options{Repo: "/other", Path: "./gitops/aks"}},
		{"", "../../etc", state.Options{}, state.Options{Path: "./etc"}},
	} {
		if got, err := settle(Options{Repo: tt.repo, Path: tt.path}, tt.was); err != nil || got != tt.want {
			t.Errorf("settle(%q, %q, %v) = %v, %v; want %v", tt.repo, tt.path, tt.was, got, err, tt.want)
		}
	}
}

func TestTheClusterBinaryIsFoundOrTheFixIsMake(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	none := func(string) string { return "" }
	if _, err := clusterBinary(filepath.Join(dir, "sluice"), none); fault.From(err) == nil || fault.From(err).Fix != "make build" {
		t.Errorf("absent: %v", err)
	}
	bin := filepath.Join(dir, "sluice-cluster")
	if err := os.WriteFile(bin, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := clusterBinary(filepath.Join(dir, "sluice"), none); err != nil || got != bin {
		t.Errorf("beside: %q, %v", got, err)
	}
	named := func(string) string { return filepath.Join(dir, "nothing") }
	if _, err := clusterBinary(filepath.Join(dir, "sluice"), named); fault.From(err) == nil || !strings.Contains(err.Error(), "SLUICE_CLUSTER_BIN") {
		t.Errorf("a wrong SLUICE_CLUSTER_BIN: %v", err)
	}
}

func goodMachine() machine {
	return machine{
		now:    func() time.Time { return time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC) },
		git:    func(context.Context) (string, error) { return "git version 2.39.5", nil },
		disk:   func(string) (uint64, error) { return 1 << 40, nil },
		memory: func() (uint64, bool) { return 8 << 30, true },
	}
}

func TestPreflightNamesWhatTheMachineLacks(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*machine)
		want  string
	}{
		"fine":    {func(*machine) {}, ""},
		"no git":  {func(m *machine) { m.git = func(context.Context) (string, error) { return "", exec.ErrNotFound } }, "apt-get install"},
		"old git": {func(m *machine) { m.git = func(context.Context) (string, error) { return "git version 2.25.1", nil } }, "2.30"},
		"apple": {func(m *machine) {
			m.git = func(context.Context) (string, error) { return "git version 3.1.0 (Apple Git-1)", nil }
		}, ""},
		"disk":  {func(m *machine) { m.disk = func(string) (uint64, error) { return 100 << 20, nil } }, "100 MB"},
		"clock": {func(m *machine) { m.now = func() time.Time { return time.Unix(0, 0) } }, "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			m := goodMachine()
			tt.spoil(&m)
			err := m.check(context.Background(), state.Dir(t.TempDir()), event.Discard)
			f := fault.From(err)
			if (tt.want == "") != (err == nil) || (f != nil && (!strings.Contains(f.Multiline(), tt.want) || f.Fix == "")) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestAClockBeforeOrAfterTheCertificatesIsNamed(t *testing.T) {
	d := state.Dir(t.TempDir())
	em, err := emulator.Open(emulator.Options{Dir: d.Emulator()})
	if err != nil {
		t.Fatal(err)
	}
	if err := em.Close(); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]time.Time{"set back": time.Now().AddDate(0, -2, 0), "far ahead": time.Now().AddDate(60, 0, 0)} {
		m := goodMachine()
		m.now = func() time.Time { return at }
		if f := fault.From(m.check(context.Background(), d, event.Discard)); f == nil || f.Object != "clock" {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestLittleMemoryIsOnlyAWarning(t *testing.T) {
	m := goodMachine()
	m.memory = func() (uint64, bool) { return 512 << 20, true }
	var warned string
	err := m.check(context.Background(), state.Dir(t.TempDir()), event.SinkFunc(func(e event.Event) { warned = e.Text }))
	if err != nil || !strings.Contains(warned, "512 MB") {
		t.Errorf("%v, %q", err, warned)
	}
}

func TestSameRepositoryIgnoresWhatGitHostsIgnore(t *testing.T) {
	for other, want := range map[string]bool{
		"http://h/gitops.git": true, "http://h/gitops": true, "http://h/gitops.git/": true, "http://h/gitops2": false, "http://g/gitops.git": false,
	} {
		if got := sameRepository(other, "http://h/gitops.git"); got != want {
			t.Errorf("sameRepository(%s) = %v", other, got)
		}
	}
}

func TestFollowPassesEventsOnAndReturnsTheFailure(t *testing.T) {
	d := state.Dir(t.TempDir())
	write := func(es ...event.Event) {
		f, err := os.OpenFile(d.Events(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := event.NewNDJSON(f)
		for _, e := range es {
			n.Emit(e)
		}
	}
	write(event.Event{Phase: event.Info, Text: "of an earlier run"})
	info, err := os.Stat(d.Events())
	if err != nil {
		t.Fatal(err)
	}
	seen := []string{}
	sink := event.SinkFunc(func(e event.Event) { seen = append(seen, e.Text) })
	write(event.Event{Step: "a", Phase: event.Started, Text: "one"}, event.Event{Step: "a", Phase: event.Done, Text: "one"})
	if err := (&state.Record{State: state.Ready}).Save(d); err != nil {
		t.Fatal(err)
	}
	if err := follow(context.Background(), d, info.Size(), sink, func() bool { return true }); err != nil {
		t.Errorf("ready: %v", err)
	}
	if got := strings.Join(seen, " "); got != "one one" {
		t.Errorf("saw %q", got)
	}

	if err := (&state.Record{State: state.Starting}).Save(d); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	write(event.Event{Step: "b", Phase: event.Started, Text: "two"}, event.Event{Step: "c", Phase: event.Started, Text: "three"},
		event.Event{Step: "b", Phase: event.Progress, Text: "two", Detail: "for etcd"}, event.Event{Step: "c", Phase: event.Done, Text: "three"})
	err = follow(ctx, d, info.Size(), sink, func() bool { return true })
	if fault.ExitCode(err) != fault.ExitTimeout || !strings.Contains(err.Error(), "two") || !strings.Contains(err.Error(), "for etcd") {
		t.Errorf("timeout: %v", err)
	}

	write(event.Event{Step: "b", Phase: event.Failed, Text: "two", Fault: &fault.Fault{Hop: fault.HopVault, Seen: "no"}})
	err = follow(context.Background(), d, info.Size(), sink, func() bool { return false })
	if f := fault.From(err); f == nil || f.Hop != fault.HopVault {
		t.Errorf("failed: %v", err)
	}
}

func TestDownWithoutAPlatformTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := Down(context.Background(), state.Dir(dir), false, event.Discard); found || err != nil {
		t.Errorf("down: %v, %v", found, err)
	}
	if _, err := Down(context.Background(), state.Dir(dir), true, event.Discard); fault.From(err) == nil {
		t.Errorf("purge: %v, want a fault", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Down(context.Background(), state.Dir(empty), true, event.Discard); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(empty); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder stays: %v", err)
	}
}

func TestServicesStopInReverseOrder(t *testing.T) {
	s := newServices(slog.New(slog.DiscardHandler))
	var order []string
	for _, name := range []string{"emulator", "cluster", "node"} {
		s.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return nil
		})
	}
	s.stop()
	if got := strings.Join(order, " "); got != "node cluster emulator" {
		t.Errorf("stopped %s", got)
	}
	s.start("broken", func(context.Context) error { return errors.New("no port") })
	if err := <-s.failed; !strings.Contains(err.Error(), "broken: no port") {
		t.Error(err)
	}
	s.stop()
}
