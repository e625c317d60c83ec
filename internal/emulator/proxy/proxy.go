// Package proxy is the door of the emulated Azure: an HTTP proxy on loopback that ends TLS for Azure's own host names
// with certificates of a private authority, and passes every other host through untouched.
//
// Unmodified clients come in by HTTPS_PROXY and that authority's certificate alone. The proxy refuses to listen anywhere
// but on loopback, to stand for a host that Azure doesn't have (an unknown vault gets what a failed name lookup would
// give), and to let an emulated host's name through to the real one. The services behind it never see a connection,
// only requests.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// shutdownPatience is how long requests under way may take when the proxy is asked to stop.
const shutdownPatience = 3 * time.Second

// Config is what a Proxy needs.
type Config struct {
	Addr      string // host:port on loopback; port 0 picks a free one
	Authority *Authority
	// Emulated says whether host (lower case, no port) is one of Azure's. An error says that it would be, but that Azure
	// has no such host.
	Emulated func(host string) (bool, error)
	Azure    http.Handler // answers requests to emulated hosts
	// Upstream gives the proxy through which other hosts are reached; nil or a nil URL: directly.
	Upstream func(*http.Request) (*url.URL, error)
	Count    func(key string)
}

// Proxy is a listening proxy. Make one with Listen and run it with Serve.
type Proxy struct {
	Config
	listener net.Listener
	azure    *terminator
	outer    *http.Server
	plain    *http.Transport

	mu      sync.Mutex
	tunnels map[net.Conn]bool
	closed  bool
}

// Listen takes the address. Its errors are faults of hop platform.
func Listen(c Config) (*Proxy, error) {
	if err := loopbackOnly(c.Addr); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return nil, listenFault(c.Addr, err)
	}
	p := &Proxy{Config: c, listener: listener, tunnels: map[net.Conn]bool{}}
	p.azure = newTerminator(c.Authority, c.Azure)
	p.plain = &http.Transport{Proxy: p.upstream, DisableCompression: true, IdleConnTimeout: time.Minute}
	p.outer = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: quiet()}
	return p, nil
}

func loopbackOnly(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return &fault.Fault{
		Code: "SLU-PLATFORM-106", Hop: fault.HopPlatform, Object: addr, Err: err,
		Seen: "the emulator was asked to listen on an address that is not loopback",
		Why:  "it holds private keys and a developer's secret for this machine alone",
		Fix:  "use an address such as 127.0.0.1:0",
	}
}

func listenFault(addr string, err error) error {
	f := &fault.Fault{
		Code: "SLU-PLATFORM-107", Hop: fault.HopPlatform, Object: addr, Err: err,
		Seen: err.Error(), Why: "the emulator's proxy can't listen there",
		Fix: "use 127.0.0.1:0 for any free port",
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		f.Seen = "port " + port + " is taken by another program"
		f.Fix = "stop the program that `ss -ltnp 'sport = :" + port + "'` shows, or choose another port"
	}
	return f
}

// Addr is the host:port that clients name as their proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Serve answers until ctx ends, then lets requests under way finish, cuts tunnels and returns nil.
func (p *Proxy) Serve(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- p.azure.serve() }()
	go func() { failed <- p.outer.Serve(p.listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.shutdown()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close gives the address back without having served.
func (p *Proxy) Close() error {
	p.shutdown()
	return nil
}

func (p *Proxy) shutdown() {
	_ = p.listener.Close() // the server doesn't know it before Serve
	patience, cancel := context.WithTimeout(context.Background(), shutdownPatience)
	defer cancel()
	if p.outer.Shutdown(patience) != nil {
		_ = p.outer.Close()
	}
	p.azure.shutdown(patience)
	p.plain.CloseIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for conn := range p.tunnels {
		_ = conn.Close()
	}
}

// ServeHTTP answers CONNECT, forwards plain-http requests, and tells that it lives.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	case r.URL.IsAbs():
		p.forward(w, r)
	case r.URL.Path == "/healthz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	default:
		http.Error(w, "this is a proxy: point HTTPS_PROXY at it", http.StatusNotFound)
	}
}

func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		http.Error(w, "CONNECT needs host:port", http.StatusBadRequest)
		return
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	emulated, err := p.Emulated(host)
	switch {
	case err != nil:
		p.Count("proxy/unknown-host")
		http.Error(w, err.Error(), http.StatusBadGateway)
	case emulated && port != "443":
		http.Error(w, fmt.Sprintf("the emulated %s answers on port 443 only", host), http.StatusBadGateway)
	case emulated:
		p.Count("proxy/azure")
		if conn := accept(w); conn != nil {
			p.azure.take(conn, host)
		}
	default:
		p.Count("proxy/tunnel")
		p.tunnel(w, r)
	}
}

// accept tells the client that it is connected and takes its connection over, or returns nil.
func accept(w http.ResponseWriter) net.Conn {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return nil
	}
	if buffered.Reader.Buffered() > 0 { // the client did not wait for the answer
		return &bufferedConn{Conn: conn, read: buffered.Reader}
	}
	return conn
}

type bufferedConn struct {
	net.Conn
	read io.Reader
}

// Read gives what was read ahead before what the connection still has.
func (c *bufferedConn) Read(p []byte) (int, error) { return c.read.Read(p) }

// CloseWrite ends the outgoing half, where the connection has halves.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
