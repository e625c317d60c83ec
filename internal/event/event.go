// Package event is the typed stream of what is happening: each long command emits Events, and every reader of them
// (terminal, plain log, NDJSON, later the dashboard) is one renderer over the same stream.
//
// A step starts, may report progress, and ends done or failed; info and warn belong to no step or to the one named.
// The package refuses to carry results: those go to stdout by whoever computed them. It carries no secret value
// either; callers put only names, counts and states into the texts.
package event

import (
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Phase says what an event does to its step.
type Phase string

// The phases of a step, and the two that are not about one.
const (
	Started  Phase = "started"
	Progress Phase = "progress"
	Done     Phase = "done"
	Failed   Phase = "failed"
	Info     Phase = "info"
	Warn     Phase = "warn"
)

// Event is one line of the stream. As JSON it is versionless: fields are only ever added.
type Event struct {
	Time     time.Time     `json:"time"`
	Step     string        `json:"step,omitempty"` // stable id, such as "cluster"; empty: about no step
	Phase    Phase         `json:"phase"`
	Text     string        `json:"text"`               // what a reader sees, without a full stop
	Detail   string        `json:"detail,omitempty"`   // what is being waited for, or what came out
	Duration time.Duration `json:"duration,omitempty"` // nanoseconds since the step started; on done and failed
	Fault    *fault.Fault  `json:"fault,omitempty"`    // on failed
}

// Sink takes events. Implementations are safe for concurrent use and never block for long.
type Sink interface {
	Emit(Event)
}

// Discard is a Sink that drops everything.
var Discard Sink = SinkFunc(func(Event) {})

// SinkFunc adapts a function to Sink.
type SinkFunc func(Event)

// Emit calls f.
func (f SinkFunc) Emit(e Event) { f(e) }

// Tee returns a Sink that hands every event to each of sinks, in order.
func Tee(sinks ...Sink) Sink {
	return SinkFunc(func(e Event) {
		for _, s := range sinks {
			s.Emit(e)
		}
	})
}

// Inform emits a line that belongs to no step.
func Inform(s Sink, text string) { s.Emit(Event{Time: time.Now(), Phase: Info, Text: text}) }

// Warning emits a warning that belongs to no step.
func Warning(s Sink, text string) { s.Emit(Event{Time: time.Now(), Phase: Warn, Text: text}) }

// Step is a started step. Its methods emit; exactly one of Done and Fail ends it, later calls do nothing.
type Step struct {
	sink     Sink
	id, text string
	start    time.Time

	mu    sync.Mutex
	ended bool
	last  string
}

// Start emits a started event for the step id and returns the step.
func Start(s Sink, id, text string) *Step {
	st := &Step{sink: s, id: id, text: text, start: time.Now()}
	s.Emit(Event{Time: st.start, Step: id, Phase: Started, Text: text})
	return st
}

// Progress reports what the step is waiting for; a repeated detail is dropped.
func (s *Step) Progress(detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || detail == s.last {
		return
	}
	s.last = detail
	s.sink.Emit(Event{Time: time.Now(), Step: s.id, Phase: Progress, Text: s.text, Detail: detail})
}

// Last gives the detail last reported.
func (s *Step) Last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Done ends the step well; detail says what came out.
func (s *Step) Done(detail string) { s.end(Done, detail, nil) }

// Fail ends the step with err. The event carries err's fault, or one made of its words.
func (s *Step) Fail(err error) {
	f := fault.From(err)
	if f == nil {
		f = &fault.Fault{Hop: fault.HopPlatform, Object: s.id, Seen: err.Error(), Err: err}
	}
	s.end(Failed, "", f)
}

func (s *Step) end(p Phase, detail string, f *fault.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	now := time.Now()
	s.sink.Emit(Event{Time: now, Step: s.id, Phase: p, Text: s.text, Detail: detail, Duration: now.Sub(s.start), Fault: f})
}
