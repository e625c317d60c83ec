package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// runOptions are what `sluice-cluster run` is told.
type runOptions struct {
	Dir            string // everything lives here: PKI, kubeconfigs, etcd's data
	Bind           string // IP address that all listeners use
	APIPort        int
	EtcdPort       int
	EtcdPeerPort   int
	Issuer         string // URL, the "iss" of service-account tokens
	Nodes          int    // simulated nodes; 0: pods stay Pending
	ExitWithParent bool   // stop when stdin ends
	Verbosity      int    // klog level
}

// parseRunOptions reads the command line and reports every fault it finds at once. The error is pflag.ErrHelp when help
// was asked for (and printed to stderr).
func parseRunOptions(args []string) (*runOptions, error) {
	o := &runOptions{}
	fs := pflag.NewFlagSet("sluice-cluster run", pflag.ContinueOnError)
	fs.StringVar(&o.Dir, "dir", "", "folder for certificates, kubeconfigs and etcd's data; made if missing")
	fs.StringVar(&o.Bind, "bind", "127.0.0.1", "IP address to listen on")
	fs.IntVar(&o.APIPort, "api-port", 0, "port of the API server (HTTPS)")
	fs.IntVar(&o.EtcdPort, "etcd-port", 0, "port of etcd for clients (mutual TLS)")
	fs.IntVar(&o.EtcdPeerPort, "etcd-peer-port", 0, "port of etcd for peers (mutual TLS; there are none)")
	fs.StringVar(&o.Issuer, "issuer", "", "https URL that service-account tokens name as their issuer")
	fs.IntVar(&o.Nodes, "nodes", 1, "number of simulated nodes")
	fs.BoolVar(&o.ExitWithParent, "exit-with-parent", false, "stop when standard input ends")
	fs.IntVar(&o.Verbosity, "v", 0, "log level of the Kubernetes components")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("run takes no arguments, got %q", fs.Args())
	}
	return o, o.validate()
}

func (o *runOptions) validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("--dir is required"))
	} else if abs, err := filepath.Abs(o.Dir); err != nil {
		errs = append(errs, err)
	} else {
		o.Dir = abs
	}
	if net.ParseIP(o.Bind) == nil {
		errs = append(errs, fmt.Errorf("--bind %q is not an IP address", o.Bind))
	}
	seen := map[int]string{}
	for _, p := range o.ports() {
		if p.number < 1 || p.number > 65535 {
			errs = append(errs, fmt.Errorf("%s must be a port from 1 to 65535", p.flag))
			continue
		}
		if other, dup := seen[p.number]; dup {
			errs = append(errs, fmt.Errorf("%s and %s are both %d", other, p.flag, p.number))
		}
		seen[p.number] = p.flag
	}
	if u, err := url.Parse(o.Issuer); err != nil || u.Scheme != "https" || u.Host == "" {
		errs = append(errs, fmt.Errorf("--issuer %q is not an https URL", o.Issuer))
	}
	if o.Nodes < 0 {
		errs = append(errs, errors.New("--nodes must not be negative"))
	}
	return errors.Join(errs...)
}

type port struct {
	flag   string
	number int
}

func (o *runOptions) ports() []port {
	return []port{{"--api-port", o.APIPort}, {"--etcd-port", o.EtcdPort}, {"--etcd-peer-port", o.EtcdPeerPort}}
}

// checkPorts fails with one line naming the first port that something else holds. The components listen for themselves
// moments later; asking first gives a message that says which flag to change.
func (o *runOptions) checkPorts() error {
	for _, p := range o.ports() {
		l, err := net.Listen("tcp", o.hostPort(p.number))
		if err != nil {
			return fmt.Errorf("port of %s can't be used: %w", p.flag, err)
		}
		l.Close()
	}
	return nil
}

func (o *runOptions) hostPort(port int) string { return net.JoinHostPort(o.Bind, strconv.Itoa(port)) }
func (o *runOptions) apiURL() string           { return "https://" + o.hostPort(o.APIPort) }
func (o *runOptions) etcdURL() string          { return "https://" + o.hostPort(o.EtcdPort) }
func (o *runOptions) etcdPeerURL() string      { return "https://" + o.hostPort(o.EtcdPeerPort) }

// jwksURI is where the issuer's keys are published: under the issuer, as on AKS.
func (o *runOptions) jwksURI() string { return strings.TrimSuffix(o.Issuer, "/") + "/openid/v1/jwks" }
