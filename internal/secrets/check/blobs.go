package check

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// blobs reads Git's objects through one `git cat-file --batch`, started with the first: a process for each of a
// thousand staged files would take longer than everything else. The zero value is ready.
type blobs struct {
	mu    sync.Mutex
	cmd   *exec.Cmd
	ask   io.WriteCloser
	reply *bufio.Reader
}

// read returns what an object name like ":path" stands for, nil where there is no such file, or none of a size that a
// document has.
func (b *blobs) read(t *Tree, object string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.ContainsAny(object, "\n\r") { // the protocol has lines
		data, err := t.git("cat-file", "blob", object)
		if err != nil {
			return nil, t.ctx.Err()
		}
		return data, nil
	}
	if err := b.start(t); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(b.ask, object+"\n"); err != nil {
		return nil, b.broken(t, err)
	}
	header, err := b.reply.ReadString('\n')
	if err != nil {
		return nil, b.broken(t, err)
	}
	fields := strings.Fields(strings.TrimPrefix(header, object)) // "<id> <type> <size>", or "<object> missing"
	if len(fields) != 3 {
		return nil, nil
	}
	var size int64
	if _, err := fmt.Sscan(fields[2], &size); err != nil {
		return nil, b.broken(t, err)
	}
	if fields[1] != "blob" || size > 4*sops.MaxSize {
		_, err := io.CopyN(io.Discard, b.reply, size+1)
		return nil, err
	}
	data := make([]byte, size+1) // and the end of the line
	if _, err := io.ReadFull(b.reply, data); err != nil {
		return nil, b.broken(t, err)
	}
	return data[:size], nil
}

func (b *blobs) start(t *Tree) (err error) {
	if b.cmd != nil {
		return nil
	}
	cmd := t.command("cat-file", "--batch")
	if b.ask, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	b.reply = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd = cmd
	return nil
}

func (b *blobs) broken(t *Tree, err error) error {
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	return fmt.Errorf("git cat-file --batch: %w", err)
}

func (b *blobs) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil {
		return nil
	}
	err := errors.Join(b.ask.Close(), b.cmd.Wait())
	b.cmd = nil
	return err
}
