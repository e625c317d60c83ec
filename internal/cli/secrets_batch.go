package cli

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
)

// workers is how many files are under way at a time: enough to parse on while their key services think, few enough for a
// vault's limits, and for memory where all are large.
const workers = 64

// verb is what happens to one file.
type verb func(ctx context.Context, e *secrets.Engine, path string, data []byte, found bool) (secrets.Output, error)

// How far the heap may grow between collections, in percent. Many small files are done before a heap worth collecting is
// there; a large one costs a tenth more time and a quarter less memory.
const (
	eagerGC = 30
	lazyGC  = 400
	large   = 256 << 10 // bytes of a file
)

// pace is told of each file's size as it is read.
func (f *secretsFlags) pace(size int) {
	if size > large && f.streams.Env("GOGC") == "" {
		debug.SetGCPercent(eagerGC)
	}
}

// run reads what the arguments name, lets do work on it, and writes where the flags say.
func (f *secretsFlags) run(ctx context.Context, args []string, do verb) error {
	c := f.command
	if f.streams.Env("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(lazyGC))
	}
	if f.inPlace && f.output != "" {
		return conflicting(c, "--in-place and --output cannot both be given")
	}
	e, err := f.engine()
	if err != nil {
		return err
	}
	if f.prepare != nil {
		if err := f.prepare(ctx, e); err != nil {
			return likeSOPS(err)
		}
	}
	if len(args) == 0 {
		return likeSOPS(f.stdin(ctx, e, do))
	}
	entries, err := files.Expand(args)
	if err != nil {
		return err
	}
	if !f.inPlace {
		if len(entries) != 1 || entries[0].Found {
			return conflicting(c, "several files need --in-place: their results cannot share one output")
		}
		return likeSOPS(f.single(ctx, e, entries[0].Path, do))
	}
	if f.name != "" && len(entries) > 1 {
		return conflicting(c, "--filename-override stands for one file")
	}
	return f.batch(ctx, e, entries, do)
}

func (f *secretsFlags) stdin(ctx context.Context, e *secrets.Engine, do verb) error {
	if f.inPlace {
		return conflicting(f.command, "--in-place needs a file: standard input cannot be written")
	}
	if f.name == "" && f.command.Name() == "encrypt" {
		return conflicting(f.command, "standard input needs --filename-override, for the rules and the format")
	}
	data, err := f.streams.input()
	if err != nil {
		return err
	}
	f.pace(len(data))
	out, err := do(ctx, e, orElse(f.name, "stdin"), data, false)
	if err != nil {
		return err
	}
	f.streams.note(orElse(f.name, "stdin"), out.Tell)
	return f.emit(out.Data)
}

func (f *secretsFlags) single(ctx context.Context, e *secrets.Engine, path string, do verb) error {
	file, err := files.Read(path)
	if err != nil {
		return err
	}
	f.pace(len(file.Data))
	out, err := do(ctx, e, path, file.Data, false)
	if err != nil {
		return err
	}
	f.streams.note(path, out.Tell)
	if out.Data == nil {
		out.Data = file.Data
	}
	return f.emit(out.Data)
}

func (f *secretsFlags) emit(data []byte) error {
	if f.output != "" {
		return files.Write(f.output, data)
	}
	_, err := f.streams.Out.Write(data)
	return err
}

// batch works on files in place, side by side.
func (f *secretsFlags) batch(ctx context.Context, e *secrets.Engine, entries []files.Entry, do verb) error {
	progress, done := f.progress(len(entries))
	results := files.Run(ctx, entries, workers, progress, func(ctx context.Context, at files.Entry) files.Result {
		out, err := f.one(ctx, e, at, do)
		return files.Result{Did: out.Did, Tell: out.Tell, Err: likeSOPS(err)}
	})
	done()
	return f.report(results)
}

func (f *secretsFlags) one(ctx context.Context, e *secrets.Engine, at files.Entry, do verb) (secrets.Output, error) {
	file, err := files.Read(at.Path)
	if err != nil {
		return secrets.Output{}, err
	}
	f.pace(len(file.Data))
	out, err := do(ctx, e, at.Path, file.Data, at.Found)
	if err != nil || out.Data == nil {
		return out, err
	}
	return out, file.Replace(out.Data)
}

// progress shows a bar on a terminal, when there is more than a blink's worth of work.
func (f *secretsFlags) progress(total int) (each func(done int, last string), end func()) {
	if total < 10 || !isTerminal(f.streams.Err) {
		return nil, func() {}
	}
	r, err := event.NewRenderer("auto", f.streams.Err, false, f.streams.Env)
	if err != nil {
		return nil, func() {}
	}
	step := event.Start(r, "files", f.command.Name())
	each = func(done int, last string) {
		const width = 24
		full := done * width / total
		step.Progress(fmt.Sprintf("%s%s %d of %d  %s", strings.Repeat("█", full), strings.Repeat("░", width-full), done, total, last))
	}
	return each, func() { step.Done(fmt.Sprintf("%d files", total)); r.Close() }
}

// report prints failures and notes on stderr and, for more than one file, the table on stdout.
func (f *secretsFlags) report(results []files.Result) error {
	s := f.streams
	var failed []error
	counts := map[string]int{}
	t := table{headers: []string{"file", "result"}}
	for _, r := range results {
		s.note(r.Path, r.Tell)
		switch {
		case r.Err != nil:
			failed = append(failed, r.Err)
			t.rows = append(t.rows, []string{r.Path, "failed"})
			counts["failed"]++
		case r.Did != "":
			t.rows = append(t.rows, []string{r.Path, r.Did})
			counts[r.Did]++
		default:
			counts["passed over"]++
		}
	}
	if len(results) == 1 && !results[0].Found {
		if len(failed) == 0 && results[0].Did == "unchanged" {
			fmt.Fprintln(s.Err, results[0].Path+": unchanged")
		}
		return first(failed)
	}
	t.print(s.Out, true)
	var sums []string
	for _, what := range []string{"encrypted", "decrypted", "rotated", "re-wrapped", "re-encrypted", "updated", "up to date", "unchanged", "passed over", "failed"} {
		if n := counts[what]; n > 0 {
			sums = append(sums, fmt.Sprintf("%d %s", n, what))
		}
	}
	fmt.Fprintln(s.Err, orElse(strings.Join(sums, ", "), "no file"))
	return several(s, failed, len(results))
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// several prints all failures but the last, which Run prints, and gives their common exit code, or sops's generic 1.
func several(s Streams, failed []error, total int) error {
	if len(failed) <= 1 {
		return first(failed)
	}
	exit := fault.ExitCode(failed[0])
	for _, err := range failed {
		printFailure(s, err)
		if fault.ExitCode(err) != exit {
			exit = fault.ExitNo
		}
	}
	return &fault.Fault{Code: "SLU-SECRET-009", Hop: fault.HopSOPS, Seen: fmt.Sprintf("%d of %d files failed", len(failed), total),
		Why: "each failure stands above; every other file is done or as it was", Fix: "mend them and run the command again", Exit: exit}
}
