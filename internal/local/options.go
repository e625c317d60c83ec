package local

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// DefaultPath is the cluster's folder in a repository when nobody says otherwise: the sample's.
const DefaultPath = "./gitops/aks"

// Options are what `up` is told.
type Options struct {
	Dir        state.Dir
	Repo       string // the user's repository; empty: what the platform has, at first the sample
	Path       string // the cluster's folder inside it; empty: what the platform has, at first DefaultPath
	Timeout    time.Duration
	NewPorts   bool
	Executable string // sluice itself
	Version    string // named in the components
	Sink       event.Sink
}

// settle lays what is asked for now over what an earlier `up` was asked for.
func settle(o Options, was state.Options) (state.Options, error) {
	if o.Repo != "" {
		abs, err := filepath.Abs(o.Repo)
		if err != nil {
			return was, err
		}
		if was.Repo != "" && was.Repo != abs {
			was.Path = ""
		}
		was.Repo = abs
	}
	if o.Path != "" {
		was.Path = o.Path
	}
	if was.Path == "" {
		was.Path = DefaultPath
	}
	was.Path = "./" + strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(was.Path)), "/")
	return was, nil
}

// clusterBinary finds sluice-cluster: SLUICE_CLUSTER_BIN, beside the executable, or on PATH.
func clusterBinary(executable string, env func(string) string) (string, error) {
	const name = "sluice-cluster"
	if p := env("SLUICE_CLUSTER_BIN"); p != "" {
		if err := executableFile(p); err == nil {
			return filepath.Abs(p)
		}
		return "", &fault.Fault{Code: "SLU-PLATFORM-060", Hop: fault.HopPlatform, Object: p, Seen: "SLUICE_CLUSTER_BIN names no executable file",
			Fix: "unset SLUICE_CLUSTER_BIN, or let it name sluice-cluster"}
	}
	for _, exe := range []string{executable, resolved(executable)} {
		if beside := filepath.Join(filepath.Dir(exe), name); executableFile(beside) == nil {
			return beside, nil
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return filepath.Abs(p)
	}
	return "", &fault.Fault{Code: "SLU-PLATFORM-061", Hop: fault.HopPlatform, Object: name, Seen: "the control plane's binary was not found",
		Why: "it is looked for beside " + executable + " and on PATH", Fix: "make build"}
}

func resolved(p string) string {
	if r, err := filepath.EvalSymlinks(p); err == nil {
		return r
	}
	return p
}

func executableFile(p string) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return os.ErrPermission
	}
	return nil
}
