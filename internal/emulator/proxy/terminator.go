package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// terminator ends TLS on connections that were taken from the proxy and answers the requests inside, HTTP/1.1 or h2.
type terminator struct {
	server *http.Server
	conns  *handover
}

type connectedTo struct{}

func newTerminator(a *Authority, azure http.Handler) *terminator {
	t := &terminator{conns: &handover{conns: make(chan net.Conn), closed: make(chan struct{})}}
	t.server = &http.Server{
		Handler:           sameHost(azure),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          quiet(),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connectedTo{}, conn.(*tls.Conn).NetConn().(*hostConn).host)
		},
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return a.Certificate(hello.Conn.(*hostConn).host)
			},
		},
	}
	return t
}

// sameHost refuses a request whose Host isn't the one that the connection was opened to: the check that the host
// exists was made for that one.
func sameHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(r.Host), ":443"), ".")
		if host != r.Context().Value(connectedTo{}) {
			http.Error(w, "this connection was opened to another host", http.StatusMisdirectedRequest)
			return
		}
		r.Host = host
		next.ServeHTTP(w, r)
	})
}

func (t *terminator) serve() error { return t.server.ServeTLS(t.conns, "", "") }

// take gives the connection over; host is what it was opened to.
func (t *terminator) take(conn net.Conn, host string) {
	select {
	case t.conns.conns <- &hostConn{Conn: conn, host: host}:
	case <-t.conns.closed:
		_ = conn.Close()
	}
}

func (t *terminator) shutdown(ctx context.Context) {
	_ = t.conns.Close()
	if t.server.Shutdown(ctx) != nil {
		_ = t.server.Close()
	}
}

// hostConn remembers which host the client asked to be connected to.
type hostConn struct {
	net.Conn
	host string
}

// handover is the listener whose connections come from the proxy's CONNECT.
type handover struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept waits for the next connection taken.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and refuses further connections.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr names the listener, which has no address of its own.
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Net: "connect", Name: "connect"} }

// quiet drops net/http's own log lines: handshakes that clients break off are no news, and the lines may quote input.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
