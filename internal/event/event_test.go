package event

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func recorded(dst *[]Event) Sink { return SinkFunc(func(e Event) { *dst = append(*dst, e) }) }

func TestAStepEndsOnceAndDropsRepeatedProgress(t *testing.T) {
	var got []Event
	s := Start(recorded(&got), "cluster", "control plane")
	s.Progress("etcd")
	s.Progress("etcd")
	s.Progress("api server")
	s.Done("ready")
	s.Fail(errors.New("too late"))
	s.Progress("too late")
	var phases []string
	for _, e := range got {
		phases = append(phases, string(e.Phase)+":"+e.Detail)
	}
	if want := "started: progress:etcd progress:api server done:ready"; strings.Join(phases, " ") != want {
		t.Errorf("got %v, want %s", phases, want)
	}
}

func TestAFailedStepCarriesTheFault(t *testing.T) {
	var got []Event
	f := &fault.Fault{Hop: fault.HopGit, Seen: "no git"}
	Start(recorded(&got), "a", "a").Fail(f)
	Start(recorded(&got), "b", "b").Fail(errors.New("plain"))
	if got[1].Fault != f {
		t.Errorf("fault = %v", got[1].Fault)
	}
	if got[3].Fault.Seen != "plain" || got[3].Fault.Hop != fault.HopPlatform {
		t.Errorf("plain error became %v", got[3].Fault)
	}
}

func TestNDJSONRoundTripsAndTheDecoderWaitsForWholeLines(t *testing.T) {
	var buf bytes.Buffer
	want := Event{Time: time.Unix(1700000000, 0).UTC(), Step: "azure", Phase: Done, Text: "vault", Detail: "kv\nx", Duration: time.Second}
	NewNDJSON(&buf).Emit(want)
	line := buf.String()
	if strings.Count(line, "\n") != 1 {
		t.Fatalf("not one line: %q", line)
	}
	var stream bytes.Buffer
	d := NewDecoder(&stream)
	stream.WriteString(line[:20])
	if _, err := d.Next(); err != io.EOF {
		t.Fatalf("half a line gave %v, want EOF", err)
	}
	stream.WriteString(line[20:])
	got, err := d.Next()
	if err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func script(s Sink) {
	at := time.Unix(0, 0)
	s.Emit(Event{Time: at, Step: "cluster", Phase: Started, Text: "Kubernetes control plane"})
	s.Emit(Event{Time: at, Step: "cluster", Phase: Progress, Text: "Kubernetes control plane", Detail: "waiting for\nthe API server"})
	s.Emit(Event{Time: at, Phase: Warn, Text: "2 uncommitted files are left out"})
	s.Emit(Event{Time: at, Step: "cluster", Phase: Done, Text: "Kubernetes control plane", Detail: "v1.36.3", Duration: 2100 * time.Millisecond})
	s.Emit(Event{Time: at, Step: "sync", Phase: Started, Text: "first sync"})
	s.Emit(Event{Time: at, Step: "sync", Phase: Failed, Text: "first sync", Duration: 61 * time.Second})
}

func TestPlainWritesStartAndEndLines(t *testing.T) {
	var buf bytes.Buffer
	script(newPlain(&buf, Style{}))
	want := `• Kubernetes control plane ...
⚠ 2 uncommitted files are left out
✓ Kubernetes control plane  v1.36.3 (2.1s)
• first sync ...
✗ first sync (1m01s)
`
	if buf.String() != want {
		t.Errorf("got\n%s\nwant\n%s", buf.String(), want)
	}
}

func TestPlainHeartbeatTellsWhatIsWaitedFor(t *testing.T) {
	var buf bytes.Buffer
	p := newPlain(&buf, Style{ASCII: true})
	p.Emit(Event{Time: time.Unix(0, 0), Step: "s", Phase: Started, Text: "first sync"})
	p.Emit(Event{Step: "s", Phase: Progress, Text: "first sync", Detail: "apps: not ready"})
	buf.Reset()
	p.heartbeat(time.Unix(15, 0))
	if want := "* first sync, still running after 15.0s: apps: not ready\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
	p.Emit(Event{Step: "s", Phase: Done, Text: "first sync"})
	buf.Reset()
	p.heartbeat(time.Unix(30, 0))
	if buf.String() != "" {
		t.Errorf("an ended step still beats: %q", buf.String())
	}
}

func TestTTYKeepsEndedStepsAndRedrawsRunningOnes(t *testing.T) {
	var buf bytes.Buffer
	tty := newTTY(&buf, Style{}, func() int { return 60 })
	script(tty)
	screen := replay(buf.String())
	want := "⚠ 2 uncommitted files are left out\n✓ Kubernetes control plane  v1.36.3 (2.1s)\n✗ first sync (1m01s)\n"
	if screen != want {
		t.Errorf("screen\n%s\nwant\n%s", screen, want)
	}
}

func TestTTYCutsDetailsToTheWidth(t *testing.T) {
	tty := newTTY(io.Discard, Style{}, func() int { return 40 })
	tty.began["s"] = time.Unix(0, 0)
	line := tty.live(Event{Step: "s", Text: "first sync", Detail: strings.Repeat("long ", 40)}, time.Unix(1, 0))
	if n := len([]rune(line)); n > 40 {
		t.Errorf("%d columns: %q", n, line)
	}
}

// replay is the smallest terminal that understands "up N, erase to end".
func replay(out string) string {
	var lines []string
	for _, part := range strings.SplitAfter(out, "\n") {
		for strings.HasPrefix(part, "\x1b[") {
			up, rest, _ := strings.Cut(strings.TrimPrefix(part, "\x1b["), "A\x1b[J")
			n := int(up[0] - '0')
			lines = lines[:len(lines)-n]
			part = rest
		}
		if part != "" {
			lines = append(lines, part)
		}
	}
	return strings.Join(lines, "")
}

func TestStyleObeysTheEnvironment(t *testing.T) {
	env := func(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }
	if s := StyleFor(env(map[string]string{"NO_COLOR": "1"}), true); s.Colour {
		t.Error("NO_COLOR is ignored")
	}
	if s := StyleFor(env(nil), false); s.Colour {
		t.Error("colour without a terminal")
	}
	s := StyleFor(env(map[string]string{"SLUICE_ASCII": "1"}), true)
	if got := s.final(Event{Phase: Done, Text: "x"}); strings.ContainsFunc(strings.ReplaceAll(got, "\x1b", ""), func(r rune) bool { return r > 127 }) {
		t.Errorf("not ASCII: %q", got)
	}
}

func TestRendererModes(t *testing.T) {
	none := func(string) string { return "" }
	for mode, want := range map[string]string{
		"none": "", "json": `"phase":"started"`, "plain": "• x ...", "auto": "• x ...",
	} {
		var buf bytes.Buffer
		r, err := NewRenderer(mode, &buf, false, none)
		if err != nil {
			t.Fatal(err)
		}
		r.Emit(Event{Step: "x", Phase: Started, Text: "x"})
		r.Close()
		if !strings.Contains(buf.String(), want) || (want == "" && buf.Len() > 0) {
			t.Errorf("%s: %q", mode, buf.String())
		}
	}
	if _, err := NewRenderer("fancy", os.Stderr, false, none); err == nil {
		t.Error("an unknown mode is accepted")
	}
	var buf bytes.Buffer
	r, _ := NewRenderer("plain", &buf, true, none)
	r.Emit(Event{Step: "x", Phase: Started, Text: "x"})
	r.Emit(Event{Phase: Warn, Text: "mind"})
	if buf.String() != "⚠ mind\n" {
		t.Errorf("quiet wrote %q", buf.String())
	}
}
