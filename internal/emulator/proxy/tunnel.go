package proxy

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const dialTimeout = 15 * time.Second

// tunnel joins the client to a host that isn't emulated, byte for byte.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	remote, err := p.dial(r)
	if err != nil {
		http.Error(w, fmt.Sprintf("connect to %s: %v", r.Host, err), http.StatusBadGateway)
		return
	}
	local := accept(w)
	if local == nil {
		_ = remote.Close()
		return
	}
	if !p.hold(local, remote) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pipe(remote, local) })
	both.Go(func() { pipe(local, remote) })
	both.Wait()
	p.release(local, remote)
}

// pipe copies until src ends, then tells dst that no more comes, so that half-closed protocols work.
func pipe(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	half, ok := dst.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = dst.Close()
	}
}

func (p *Proxy) hold(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.closed {
			_ = conn.Close()
			continue
		}
		p.tunnels[conn] = true
	}
	return !p.closed
}

func (p *Proxy) release(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		delete(p.tunnels, conn)
		_ = conn.Close()
	}
}

// upstream asks for the machine's own proxy, and never takes this one for it: whoever runs `sluice up` in a shell that
// evaluated `sluice env` has it in the environment.
func (p *Proxy) upstream(r *http.Request) (*url.URL, error) {
	if p.Upstream == nil {
		return nil, nil
	}
	via, err := p.Upstream(r)
	if err != nil || via == nil || via.Host == p.Addr() {
		return nil, err
	}
	return via, nil
}

func (p *Proxy) dial(r *http.Request) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.Context(), dialTimeout)
	defer cancel()
	via, err := p.upstream(&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: r.Host}, Host: r.Host})
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	if via == nil {
		return dialer.DialContext(ctx, "tcp", r.Host)
	}
	if via.Scheme != "http" {
		return nil, fmt.Errorf("the upstream proxy's scheme %q is not http", via.Scheme)
	}
	address := via.Host
	if via.Port() == "" {
		address = net.JoinHostPort(via.Hostname(), "80")
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	through, err := connectVia(ctx, conn, via, r.Host)
	if err != nil {
		_ = conn.Close()
	}
	return through, err
}

// connectVia asks the upstream proxy at the other end of conn for target.
func connectVia(ctx context.Context, conn net.Conn, via *url.URL, target string) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if user := via.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the upstream proxy answers %s", answer.Status)
	}
	_ = conn.SetDeadline(time.Time{})
	if reader.Buffered() > 0 {
		return &bufferedConn{Conn: conn, read: reader}, nil
	}
	return conn, nil
}

// hopHeaders end at a proxy (RFC 9110, section 7.6.1).
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// forward passes a plain-http request on. Emulated hosts have no plain-http side, in Azure neither.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	host := r.URL.Hostname()
	if emulated, err := p.Emulated(host); emulated || err != nil {
		http.Error(w, host+" is emulated, over https only", http.StatusBadGateway)
		return
	}
	p.Count("proxy/forward")
	out := r.Clone(r.Context())
	out.RequestURI = ""
	for _, name := range hopHeaders {
		out.Header.Del(name)
	}
	answer, err := p.plain.RoundTrip(out)
	if err != nil {
		http.Error(w, fmt.Sprintf("reach %s: %v", host, err), http.StatusBadGateway)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	for _, name := range hopHeaders {
		answer.Header.Del(name)
	}
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	flush := http.NewResponseController(w)
	_ = flush.Flush() // so that a stream's reader has the headers at once
	_, _ = io.Copy(flushing{w, flush}, answer.Body)
}

type flushing struct {
	io.Writer
	flush *http.ResponseController
}

// Write passes every piece on as it comes: watches and logs must not wait for a full buffer.
func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	_ = f.flush.Flush()
	return n, err
}
