package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// NDJSON writes each event as one JSON object on a line of its own. A line is written with a single Write, so that a
// reader that follows the file never sees half of one ended by a newline.
type NDJSON struct {
	mu sync.Mutex
	w  io.Writer
}

// NewNDJSON returns a Sink that encodes to w.
func NewNDJSON(w io.Writer) *NDJSON { return &NDJSON{w: w} }

// Emit writes e. A writer that fails loses the event: progress must not stop the work it tells about.
func (n *NDJSON) Emit(e Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, _ = n.w.Write(append(line, '\n'))
}

// Decoder reads a growing NDJSON stream: Next returns io.EOF when no whole line is there yet, and may be called again.
type Decoder struct {
	r    *bufio.Reader
	part []byte
}

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReader(r)} }

// Next returns the next event, io.EOF if none is complete, or an error that names the broken line.
func (d *Decoder) Next() (Event, error) {
	var e Event
	chunk, err := d.r.ReadBytes('\n')
	d.part = append(d.part, chunk...)
	if err != nil {
		return e, err
	}
	line := bytes.TrimSpace(d.part)
	d.part = nil
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("event line %q: %w", line, err)
	}
	return e, nil
}
