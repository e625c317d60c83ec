package state

import (
	"fmt"
	"net"
	"strconv"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Ports are the TCP ports of 127.0.0.1 that a platform listens on. They are chosen once and kept, so that a shell that
// evaluated `sluice env` stays right over down and up.
type Ports struct {
	Proxy    int `json:"proxy"`    // the emulator's CONNECT proxy
	Git      int `json:"git"`      // smart HTTP
	API      int `json:"api"`      // kube-apiserver
	Etcd     int `json:"etcd"`     // etcd clients
	EtcdPeer int `json:"etcdPeer"` // etcd peers
	Metrics  int `json:"metrics"`  // the controller's metrics
	Health   int `json:"health"`   // the controller's probes
	Artifact int `json:"artifact"` // the controller's artifact server
}

type namedPort struct {
	name string
	port *int
}

func (p *Ports) all() []namedPort {
	return []namedPort{
		{"Azure emulator", &p.Proxy}, {"Git server", &p.Git}, {"Kubernetes API", &p.API}, {"etcd", &p.Etcd},
		{"etcd peer", &p.EtcdPeer}, {"controller metrics", &p.Metrics}, {"controller health", &p.Health},
		{"artifact server", &p.Artifact},
	}
}

// Assign fills the ports that are still 0 with free ones, or all of them when fresh. All candidates are held open
// until every one is chosen, so that none is given twice.
func (p *Ports) Assign(fresh bool) error {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for _, n := range p.all() {
		if *n.port != 0 && !fresh {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return &fault.Fault{Code: "SLU-PLATFORM-010", Hop: fault.HopPlatform, Object: n.name, Seen: "no free port on 127.0.0.1", Why: err.Error(), Err: err}
		}
		held = append(held, l)
		*n.port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// Check proves that each port can be listened on. One that is taken is a fault that names it and, where owner can
// tell, the process that holds it. owner may be nil.
func (p *Ports) Check(owner func(port int) string) error {
	for _, n := range p.all() {
		l, err := net.Listen("tcp", Loopback(*n.port))
		if err == nil {
			l.Close()
			continue
		}
		holder := ""
		if owner != nil {
			holder = owner(*n.port)
		}
		f := &fault.Fault{Code: "SLU-PLATFORM-011", Hop: fault.HopPlatform, Object: n.name,
			Seen: fmt.Sprintf("port %d of 127.0.0.1 is in use", *n.port), Why: "another process listens on it",
			Fix: "stop that process, or let this platform take other ports (then evaluate `sluice env` again): sluice up --new-ports", Err: err}
		if holder != "" {
			f.Why = holder + " listens on it"
		}
		return f
	}
	return nil
}

// Loopback gives the listen and dial address of a port.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
