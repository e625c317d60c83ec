package release

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// Target is an operating system and a processor, by Go's names.
type Target struct{ OS, Arch string }

// Targets are what a release has binaries for.
var Targets = []Target{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// String is the target as users write it: "linux/amd64".
func (t Target) String() string { return t.OS + "/" + t.Arch }

// Exe is the program's file name there.
func (t Target) Exe() string {
	if t.OS == "windows" {
		return "sluice.exe"
	}
	return "sluice"
}

// ParseTargets reads "linux/amd64,darwin/arm64". What is not in Targets is refused.
func ParseTargets(list string) ([]Target, error) {
	var found []Target
next:
	for name := range strings.SplitSeq(list, ",") {
		for _, t := range Targets {
			if t.String() == strings.TrimSpace(name) {
				found = append(found, t)
				continue next
			}
		}
		return nil, fmt.Errorf("%q is none of the targets %v", name, Targets)
	}
	return found, nil
}

// Binary is a program that was built.
type Binary struct {
	Target Target
	Data   []byte
	Info   *debug.BuildInfo // the modules that are linked into it
}

// Builder builds the program for one target.
type Builder func(ctx context.Context, t Target) (Binary, error)

// Go returns a Builder that runs `go build` on ./cmd/sluice of the module in dir.
func Go(dir, version string) Builder {
	return func(ctx context.Context, t Target) (Binary, error) {
		tmp, err := os.MkdirTemp("", "sluice-release-")
		if err != nil {
			return Binary{}, err
		}
		defer os.RemoveAll(tmp)
		out := filepath.Join(tmp, t.Exe())
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -X github.com/sluice-gitops/sluice/internal/cli.Version="+version, "-o", out, "./cmd/sluice")
		cmd.Dir, cmd.Env = dir, environment(os.Environ(), t)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			return Binary{}, fmt.Errorf("go build for %s: %w\n%s", t, err, strings.TrimSpace(said.String()))
		}
		return Read(t, out)
	}
}

// environment drops every setting of the machine that go build would put into the binary, and names those it would
// otherwise guess.
func environment(machine []string, t Target) []string {
	ours := []string{"CGO_ENABLED=0", "GOOS=" + t.OS, "GOARCH=" + t.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=", "GOWORK=off", "GOENV=off"}
	var env []string
	for _, v := range machine {
		name, _, _ := strings.Cut(v, "=")
		named := func(o string) bool { return strings.HasPrefix(o, name+"=") }
		if !slices.ContainsFunc(ours, named) {
			env = append(env, v)
		}
	}
	return append(env, ours...)
}

// Read takes a Go program that was built for t.
func Read(t Target, path string) (Binary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", path, err)
	}
	return Binary{Target: t, Data: data, Info: info}, nil
}
