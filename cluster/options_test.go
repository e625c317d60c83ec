package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const testIssuer = "https://westeurope.oic.prod-aks.azure.com/T/U/"

func TestRunRefusesWrongCommandLines(t *testing.T) {
	good := []string{"--dir=d", "--api-port=1001", "--etcd-port=1002", "--etcd-peer-port=1003", "--issuer=" + testIssuer}
	tests := []struct {
		name string
		args []string // replace or extend good
		want string   // part of the error; empty: accepted
	}{
		{name: "all that is required is enough"},
		{"an argument that is no flag", []string{"start"}, `takes no arguments, got ["start"]`},
		{"a flag that doesn't exist", []string{"--port=1"}, "unknown flag: --port"},
		{"no folder", []string{"--dir="}, "--dir is required"},
		{"port 0", []string{"--api-port=0"}, "--api-port must be a port from 1 to 65535"},
		{"port out of range", []string{"--etcd-peer-port=70000"}, "--etcd-peer-port must be a port from 1 to 65535"},
		{"the same port twice", []string{"--etcd-port=1001"}, "--api-port and --etcd-port are both 1001"},
		{"a host name to bind to", []string{"--bind=localhost"}, `--bind "localhost" is not an IP address`},
		{"an issuer that Kubernetes would refuse", []string{"--issuer=http://x/"}, `--issuer "http://x/" is not an https URL`},
		{"a negative number of nodes", []string{"--nodes=-1"}, "--nodes must not be negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseRunOptions(append(slices.Clone(good), tt.args...))
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRunReportsEveryWrongFlagAtOnce(t *testing.T) {
	_, err := parseRunOptions([]string{"--dir=d"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, flag := range []string{"--api-port", "--etcd-port", "--etcd-peer-port", "--issuer"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%q doesn't mention %s", err, flag)
		}
	}
}

func TestATakenPortIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	o := &runOptions{Bind: "127.0.0.1", APIPort: freePort(t), EtcdPort: taken, EtcdPeerPort: freePort(t)}
	err = o.checkPorts()
	if err == nil || !strings.Contains(err.Error(), "--etcd-port") || !strings.Contains(err.Error(), strconv.Itoa(taken)) {
		t.Fatalf("got %v", err)
	}
}

func TestAPIServerServesKeysUnderTheIssuer(t *testing.T) {
	for _, issuer := range []string{"https://i.example/T/U/", "https://i.example/T/U"} {
		o := &runOptions{Issuer: issuer}
		if got, want := o.jwksURI(), "https://i.example/T/U/openid/v1/jwks"; got != want {
			t.Errorf("issuer %s: got %s, want %s", issuer, got, want)
		}
	}
}

func TestAPIServerKeepsOrdinaryTokensValid(t *testing.T) {
	flags := apiserverFlags(&runOptions{Dir: "d", Bind: "127.0.0.1", Issuer: testIssuer}, &pki{Dir: "d/pki"})
	want := "--api-audiences=" + testIssuer + ",https://kubernetes.default.svc"
	if !slices.Contains(flags, want) {
		t.Errorf("%s is missing", want)
	}
}

func TestControllersThatTakeFinalizersOffAreKept(t *testing.T) {
	for _, name := range droppedControllers {
		if strings.Contains(name, "protection") || strings.Contains(name, "garbage") || strings.Contains(name, "namespace") {
			t.Errorf("%s is dropped", name)
		}
	}
}
