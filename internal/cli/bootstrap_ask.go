package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// ask puts a question. Without a terminal, and without --silent, the answer is no.
func (b *bootstrapFlags) ask(question, seen, fix string) error {
	if b.silent {
		return nil
	}
	f := &fault.Fault{Code: "SLU-USAGE-063", Hop: fault.HopUsage, Seen: seen, Fix: fix}
	if !isTerminal(b.streams.In) || !isTerminal(b.streams.Err) {
		f.Why = "stdin and stderr are not terminals, so nobody can be asked"
		return f
	}
	fmt.Fprintf(b.streams.Err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(b.streams.In).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	f.Why, f.Exit = "the answer was no", fault.ExitNo
	return f
}

// token gives what the flag or variable holds, and otherwise what is typed, unseen, at a terminal, or piped in, as
// `flux bootstrap` reads it.
func (b *bootstrapFlags) token(ctx context.Context, given, variable, question string) (string, error) {
	if value := orElse(given, b.streams.Env(variable)); value != "" {
		return value, nil
	}
	var line string
	switch in, isFile := b.streams.In.(*os.File); {
	case b.streams.In == nil:
	case isFile && isTerminal(in):
		fmt.Fprintf(b.streams.Err, "%s: ", question)
		typed, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(b.streams.Err)
		if err != nil {
			return "", fmt.Errorf("read the terminal: %w", err)
		}
		line = string(typed)
	default:
		var err error
		if line, err = firstLine(ctx, b.streams.In); err != nil {
			return "", err
		}
	}
	if line = strings.TrimSpace(line); line != "" {
		return line, nil
	}
	return "", &fault.Fault{Code: "SLU-USAGE-070", Hop: fault.HopUsage, Seen: "the token is missing", Why: variable + " is not set, and nothing came from stdin",
		Fix: "put the token into " + variable + ", or pipe it in"}
}

// firstLine reads a line of a pipe, whose other end may never write one.
func firstLine(ctx context.Context, in io.Reader) (string, error) {
	read := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(in, 1<<16)).ReadString('\n') // half a line, at the end of the pipe, is one too
		read <- line
	}()
	select {
	case line := <-read:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
