// Package check looks through a repository for secrets that are not sealed as the repository's own rules say: before a
// commit, and in CI.
//
// It stands beside the pipeline, not in it: it reads files and rules and says what it found, line by line. Without a key
// it sees everything but the MACs; with one (Options.Open) it verifies those too, and says of each document whether it
// did. The controller's --sops-policy asks it about one document at a time (Sealed).
//
// It refuses to change anything, follows no symbolic link, and quotes neither a value nor a comment of any file: what it
// finds ends up in CI logs.
package check

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// Level says whether a finding fails the check.
type Level string

// The levels. Notes fail nothing.
const (
	Error Level = "error"
	Note  Level = "note"
)

// Finding is one thing that is wrong in one place.
type Finding struct {
	Check string `json:"check"` // one of Checks
	Level Level  `json:"level"`
	File  string `json:"file"`           // relative to the root, with slashes
	Line  int    `json:"line,omitempty"` // from 1; 0: the whole file
	Seen  string `json:"seen"`
	Why   string `json:"why,omitempty"`
	Fix   string `json:"fix,omitempty"`
}

// Report is what was looked at and found.
type Report struct {
	Files      int       `json:"files"`
	Sealed     int       `json:"sealed"`
	MACs       int       `json:"macsVerified"`
	Unverified int       `json:"macsNotVerified"` // no key was at hand, or none was looked for
	Findings   []Finding `json:"findings"`        // by file and line
}

// Failed says whether anything but notes was found.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Error })
}

// Options say what is looked at. Paths are relative to the root of the repository, with slashes.
type Options struct {
	Files []string
	// Read returns a file's bytes; nil with no error for what is no regular file any more.
	Read func(path string) ([]byte, error)
	// Before returns what was last committed of a file that has changed since, nil for others. nil: not asked.
	Before func(path string) ([]byte, error)
	// Config is the .sops.yaml that rules over all files; empty: the nearest one above each.
	Config string
	// Open decrypts a document, as sops.Open. nil: MACs are not verified.
	Open func(ctx context.Context, path string, data []byte, f sops.Format) error
	// Online judges a Key Vault key. nil: not asked.
	Online *Online
	// Cluster is who must be able to open every document. nil: not asked.
	Cluster *Cluster
	Workers int // 0: two for each CPU
}

// run is one check under way.
type run struct {
	Options
	rules *ruleBook

	mu     sync.Mutex
	report Report
}

// Run checks the files. Its error is the context's, or that rules cannot be read; what is wrong with a file is a finding.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = 2 * runtime.GOMAXPROCS(0)
	}
	r := &run{Options: o, rules: &ruleBook{read: o.Read, config: o.Config, loaded: map[string]*loadedRules{}}}
	r.report.Findings = []Finding{}
	jobs := make(chan string)
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range o.Workers {
		wg.Go(func() {
			for name := range jobs {
				if err := r.file(ctx, name); err != nil {
					once.Do(func() { failed = err; cancel() })
				}
			}
		})
	}
feed:
	for _, name := range o.Files {
		select {
		case jobs <- name:
		case <-ctx.Done():
			break feed
		}
	}
	close(jobs)
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(r.report.Findings, compare)
	r.report.Findings = slices.Compact(r.report.Findings)
	return &r.report, nil
}

func compare(a, b Finding) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return strings.Compare(a.Check+a.Seen, b.Check+b.Seen)
}

// file checks one file. Files that hold nothing of interest, which are most, cost a few searches for words.
func (r *run) file(ctx context.Context, name string) error {
	data, err := r.Read(name)
	if err != nil {
		return err
	}
	if data == nil {
		return nil
	}
	found, sealed, verified, err := r.judge(ctx, name, data)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Files++
	if sealed {
		r.report.Sealed++
		if verified {
			r.report.MACs++
		} else {
			r.report.Unverified++
		}
	}
	r.report.Findings = append(r.report.Findings, found...)
	return nil
}

func (r *run) judge(ctx context.Context, name string, data []byte) (found []Finding, sealed, verified bool, err error) {
	if len(data) > sops.MaxSize {
		if sops.IsEncrypted(name, data) {
			found = append(found, finding(Unusable, name, 0, fmt.Sprintf("it has %d bytes", len(data)),
				fmt.Sprintf("documents above %d bytes are not decrypted", sops.MaxSize), "split the file"))
		}
		return found, false, false, nil
	}
	if line := conflict(name, data); line > 0 {
		return []Finding{finding(Conflict, name, line, "a merge left its marks", "the file is neither side of the merge, and not valid "+string(sops.FormatFor(name)),
			"resolve the conflict, then seal the file again: sluice secrets encrypt -i "+word(name))}, false, false, nil
	}
	if sops.IsEncrypted(name, data) {
		found, verified, err = r.sealed(ctx, name, data)
		return found, true, verified, err
	}
	found, err = r.plain(name, data)
	return found, false, false, err
}

// sealed judges a SOPS document against its rule, the keys that are at hand, the vaults and the cluster.
func (r *run) sealed(ctx context.Context, name string, data []byte) (found []Finding, verified bool, err error) {
	rule, known, err := r.rules.of(name)
	if err != nil {
		return nil, false, err
	}
	found, docs := sealedFindings(name, data, rule)
	if rule == nil && known {
		f := finding(string(rules.Unruled), name, 0, "no rule of "+rules.Name+" covers the file", "nothing says for whom it is to be sealed", "add a creation rule whose path_regex matches it")
		f.Level = Note
		found = append(found, f)
	}
	for _, d := range docs {
		found = append(found, r.Cluster.judge(name, data, d)...)
		more, err := r.Online.judge(ctx, name, data, d)
		if err != nil {
			return nil, false, err
		}
		found = append(found, more...)
	}
	if r.Open != nil && len(docs) > 0 {
		broken, looked := macFindings(name, data, r.Open(ctx, name, data, sops.FormatFor(name)))
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Check == BrokenMAC }) { // a missing one needs no key to see
			found = append(found, broken...)
		}
		verified = looked
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
	}
	return found, verified, nil
}

// finding is one that fails the check.
func finding(check, file string, line int, seen, why, fix string) Finding {
	return Finding{Check: check, Level: Error, File: file, Line: line, Seen: seen, Why: why, Fix: fix}
}

// conflict returns the line of the first mark of an unresolved merge, 0 if there is none.
func conflict(name string, data []byte) int {
	if !bytes.Contains(data, []byte("<<<<<<< ")) || !bytes.Contains(data, []byte(">>>>>>> ")) {
		return 0
	}
	if sops.FormatFor(name) == sops.Binary && !bytes.Contains(data, []byte("ENC[AES256_GCM,")) {
		return 0 // text that explains merges, for example
	}
	first, n := 0, 0
	for line := range bytes.Lines(data) {
		n++
		switch {
		case bytes.HasPrefix(line, []byte("<<<<<<< ")) && first == 0:
			first = n
		case bytes.HasPrefix(line, []byte(">>>>>>> ")) && first > 0:
			return first
		}
	}
	return 0
}

// word quotes a path for a command that the reader may copy.
func word(p string) string {
	if strings.IndexFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./+@:-", r))
	}) < 0 {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}

// lastLine returns the number of the last line that holds text, 0 if none does: metadata stands at a file's end.
func lastLine(data []byte, text string) int {
	i := bytes.LastIndex(data, []byte(text))
	if text == "" || i < 0 {
		return 0
	}
	return 1 + bytes.Count(data[:i], []byte("\n"))
}

// ruleBook reads each .sops.yaml once.
type ruleBook struct {
	read   func(string) ([]byte, error)
	config string

	mu     sync.Mutex
	loaded map[string]*loadedRules // by folder
}

type loadedRules struct {
	file *rules.File // nil: there is none
	err  error
}

// of returns the rule of a file, nil if none covers it, and whether there are rules at all.
func (b *ruleBook) of(name string) (*rules.Rule, bool, error) {
	l := b.in(path.Dir(name))
	if l.err != nil || l.file == nil {
		return nil, false, l.err
	}
	rule, err := l.file.For(name)
	return rule, l.file.Len() > 0, err
}

func (b *ruleBook) in(dir string) *loadedRules {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.config != "" {
		dir = ""
	}
	if l := b.loaded[dir]; l != nil {
		return l
	}
	l := &loadedRules{}
	for at := dir; ; at = path.Dir(at) {
		file := path.Join(at, rules.Name)
		if b.config != "" {
			file = b.config
		}
		data, err := b.read(file)
		if err == nil && data != nil {
			l.file, l.err = rules.Parse(file, data)
		} else {
			l.err = err
		}
		if l.file != nil || l.err != nil || at == "." || at == "" || at == "/" {
			break
		}
	}
	b.loaded[dir] = l
	return l
}
