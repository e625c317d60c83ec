package event

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Plain renders events as lines for logs and pipes: one when a step starts, one when it ends, and a heartbeat for a
// step that takes long, so that nobody takes a slow machine for a hung one.
type Plain struct {
	style Style
	stop  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	w      io.Writer
	active []Event // started or progressing, oldest first
	began  map[string]time.Time
}

// Heartbeat is how often Plain repeats what a running step waits for.
const Heartbeat = 15 * time.Second

// NewPlain renders to w until Close.
func NewPlain(w io.Writer, style Style) *Plain {
	p := newPlain(w, style)
	go p.beat(time.NewTicker(Heartbeat))
	return p
}

func newPlain(w io.Writer, style Style) *Plain {
	return &Plain{w: w, style: style, stop: make(chan struct{}), began: map[string]time.Time{}}
}

// Emit writes e's line, if it has one.
func (p *Plain) Emit(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Phase {
	case Started:
		p.began[e.Step] = e.Time
		p.active = append(p.active, e)
		fmt.Fprintf(p.w, "%s %s ...\n", p.style.dot(), e.Text)
	case Progress:
		for i := range p.active {
			if p.active[i].Step == e.Step {
				p.active[i] = e
			}
		}
	case Done, Failed:
		p.active = without(p.active, e.Step)
		fmt.Fprintln(p.w, p.style.final(e))
	default:
		fmt.Fprintln(p.w, p.style.final(e))
	}
}

// Close stops the heartbeat.
func (p *Plain) Close() { p.once.Do(func() { close(p.stop) }) }

func (p *Plain) beat(t *time.Ticker) {
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			p.heartbeat(now)
		case <-p.stop:
			return
		}
	}
}

func (p *Plain) heartbeat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.active {
		detail := ""
		if e.Detail != "" {
			detail = ": " + oneLine(e.Detail)
		}
		fmt.Fprintf(p.w, "%s %s, still running after %s%s\n", p.style.dot(), e.Text, Seconds(now.Sub(p.began[e.Step])), detail)
	}
}

func without(events []Event, step string) []Event {
	kept := events[:0]
	for _, e := range events {
		if e.Step != step {
			kept = append(kept, e)
		}
	}
	return kept
}
