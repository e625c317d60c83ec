package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

const clusterName = "cluster"

// cluster keeps sluice-cluster running.
type cluster struct {
	dir    state.Dir
	binary string
	ports  state.Ports
	issuer string
	hooks  process.Hooks

	mu      sync.Mutex
	attempt int
	logFrom int64         // where this run's part of the log begins
	ready   chan struct{} // closed when the control plane first says so
	once    sync.Once
	fatal   chan error // how it ended, twice before it was ever ready
}

func newCluster(d state.Dir, binary string, ports state.Ports, issuer string, hooks process.Hooks) *cluster {
	return &cluster{dir: d, binary: binary, ports: ports, issuer: issuer, hooks: hooks, logFrom: size(d.Log(clusterName)), ready: make(chan struct{}), fatal: make(chan error, 1)}
}

// keep runs the control plane until ctx ends.
func (c *cluster) keep(ctx context.Context) {
	hooks := c.hooks
	hooks.Exited = func(p state.Process, err error, again time.Duration) {
		if c.hooks.Exited != nil {
			c.hooks.Exited(p, err, again)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.attempt++
		select {
		case <-c.ready:
		default:
			if c.attempt == 2 {
				c.fatal <- err
			}
		}
	}
	process.Keep(ctx, 5*time.Second, func() (process.Spec, error) { return c.spec(), nil }, hooks)
}

func (c *cluster) spec() process.Spec {
	return process.Spec{
		Name: clusterName, Owner: c.dir, Path: c.binary, Log: c.dir.Log(clusterName),
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir.Cluster(), "TMPDIR=" + os.TempDir()},
		Args: []string{"run", "--dir", c.dir.Cluster(), "--bind", "127.0.0.1",
			"--api-port", strconv.Itoa(c.ports.API), "--etcd-port", strconv.Itoa(c.ports.Etcd), "--etcd-peer-port", strconv.Itoa(c.ports.EtcdPeer),
			"--issuer", c.issuer, "--nodes", "1", "--exit-with-parent"},
		Line: func(line string) {
			if strings.TrimSpace(line) == "ready" {
				c.once.Do(func() { close(c.ready) })
			}
		},
	}
}

// wait returns the administrator's configuration once the control plane is ready, and lays out what the user's shell
// needs: the kubeconfig and kubectl.
func (c *cluster) wait(ctx context.Context, step *event.Step) (*rest.Config, error) {
	step.Progress("waiting for etcd and the API server")
	select {
	case <-c.ready:
	case err := <-c.fatal:
		return nil, &fault.Fault{Code: "SLU-PLATFORM-040", Hop: fault.HopPlatform, Object: "sluice-cluster", Seen: "the control plane ended before it was ready" + ended(err),
			Why: c.reason(), Fix: "see " + c.dir.Log(clusterName) + "; if its data is damaged, sluice down --purge starts over", Err: err}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	raw, err := os.ReadFile(c.dir.AdminKubeconfig())
	if err != nil {
		return nil, fmt.Errorf("the cluster's kubeconfig: %w", err)
	}
	if err := state.WriteFile(c.dir.Kubeconfig(), raw, 0o600); err != nil {
		return nil, err
	}
	if err := link(c.binary, filepath.Join(c.dir.Bin(), "kubectl")); err != nil {
		return nil, err
	}
	return adminConfig(c.dir)
}

func ended(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// link makes path a symbolic link to target, replacing an older one.
func link(target, path string) error {
	if was, err := os.Readlink(path); err == nil && was == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(target, path)
}

// adminConfig connects as the cluster's administrator, never through a proxy.
func adminConfig(d state.Dir) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", d.AdminKubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	cfg.UserAgent = "sluice-platform"
	return cfg, nil
}

// serverVersion asks the API server for its version, such as v1.36.3.
func serverVersion(cfg *rest.Config) string {
	c, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return ""
	}
	v, err := c.ServerVersion()
	if err != nil {
		return ""
	}
	return v.GitVersion
}

// issuerDocument reads a discovery document of the API server, for the emulator to publish under the issuer's URL.
// Before there is a cluster it is an error, as on AKS while the cluster is being made.
func issuerDocument(d state.Dir) func(ctx context.Context, path string) ([]byte, error) {
	return func(ctx context.Context, path string) ([]byte, error) {
		cfg, err := adminConfig(d)
		if err != nil {
			return nil, err
		}
		c, err := discovery.NewDiscoveryClientForConfig(cfg)
		if err != nil {
			return nil, err
		}
		return c.RESTClient().Get().AbsPath(path).DoRaw(ctx)
	}
}

// reason finds the line in which sluice-cluster says why it ended, among those of this run.
func (c *cluster) reason() string {
	lines := strings.Split(tail(c.dir.Log(clusterName), c.logFrom, 200), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "sluice-cluster: ") {
			return strings.TrimPrefix(line, "sluice-cluster: ")
		}
	}
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}

// tail gives the last n lines of a log beyond the offset from, for a fault's cause.
func tail(path string, from int64, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(max(from, size(path)-64<<10), io.SeekStart); err != nil {
		return ""
	}
	raw, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// size is that of a file, 0 if it isn't there.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
