package event

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// TTY renders events on a terminal: ended steps stay as lines, running ones are redrawn below them ten times a second
// with a spinner, what they wait for and the time so far.
type TTY struct {
	style Style
	width func() int
	stop  chan struct{}
	idle  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	w      io.Writer
	active []Event
	began  map[string]time.Time
	drawn  int // lines of the live area now on screen
	frame  int
}

// NewTTY renders to w, a terminal whose width in columns width reports, until Close.
func NewTTY(w io.Writer, style Style, width func() int) *TTY {
	t := newTTY(w, style, width)
	go t.animate()
	return t
}

func newTTY(w io.Writer, style Style, width func() int) *TTY {
	return &TTY{w: w, style: style, width: width, stop: make(chan struct{}), idle: make(chan struct{}), began: map[string]time.Time{}}
}

// Emit takes e into the picture.
func (t *TTY) Emit(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Phase {
	case Started:
		t.began[e.Step] = e.Time
		t.active = append(t.active, e)
	case Progress:
		for i := range t.active {
			if t.active[i].Step == e.Step {
				t.active[i] = e
			}
		}
		return // shown with the next frame
	case Done, Failed:
		t.active = without(t.active, e.Step)
	}
	t.draw(t.style.final(e), time.Now())
}

// Close clears the live area and stops drawing. What was ended stays on screen.
func (t *TTY) Close() {
	t.once.Do(func() {
		close(t.stop)
		<-t.idle
		t.mu.Lock()
		defer t.mu.Unlock()
		t.active = nil
		t.draw("", time.Now())
	})
}

func (t *TTY) animate() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	defer close(t.idle)
	for {
		select {
		case now := <-tick.C:
			t.mu.Lock()
			if len(t.active) > 0 {
				t.frame++
				t.draw("", now)
			}
			t.mu.Unlock()
		case <-t.stop:
			return
		}
	}
}

// draw replaces the live area by the lines to keep (if any) and the running steps, in one write.
func (t *TTY) draw(keep string, now time.Time) {
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", t.drawn)
	}
	if keep != "" {
		b.WriteString(keep + "\n")
	}
	for _, e := range t.active {
		b.WriteString(t.live(e, now) + "\n")
	}
	t.drawn = len(t.active)
	_, _ = io.WriteString(t.w, b.String())
}

func (t *TTY) live(e Event, now time.Time) string {
	elapsed := Seconds(now.Sub(t.began[e.Step]))
	room := t.width() - utf8.RuneCountInString(e.Text) - len(elapsed) - 8
	detail := oneLine(e.Detail)
	if runes := []rune(detail); len(runes) > room {
		detail = string(runes[:max(room, 0)])
	}
	if detail != "" {
		detail = "  " + t.style.dim(detail)
	}
	return fmt.Sprintf("%s %s%s %s", t.style.spin(t.frame), e.Text, detail, t.style.dim(elapsed))
}
