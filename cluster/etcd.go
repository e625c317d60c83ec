package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// etcdServer is the one etcd member. Writes are fsynced: data survives kill -9.
type etcdServer struct {
	etcd *embed.Etcd
}

// startEtcd starts the member over dir/etcd and waits until it serves.
func startEtcd(ctx context.Context, o *runOptions, p *pki) (*etcdServer, error) {
	cfg, err := etcdConfig(o, p)
	if err != nil {
		return nil, err
	}
	// Segments are preallocated; 64 MB of them is more than a laptop's cluster writes in a day.
	wal.SegmentSizeBytes = 16 << 20
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &etcdServer{etcd: e}, nil
	case err := <-e.Err():
		return nil, fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		e.Server.Stop()
		return nil, ctx.Err()
	}
}

// etcdConfig is for one member, small and local: quick to elect itself, few log entries kept in memory.
func etcdConfig(o *runOptions, p *pki) (*embed.Config, error) {
	client, err1 := url.Parse(o.etcdURL())
	peer, err2 := url.Parse(o.etcdPeerURL())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name = "sluice"
	cfg.Dir = filepath.Join(o.Dir, "etcd")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	tls := transport.TLSInfo{CertFile: p.cert("etcd"), KeyFile: p.key("etcd"),
		TrustedCAFile: p.cert(etcdCA), ClientCertAuth: true}
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = tls, tls
	cfg.ElectionMs = 500
	cfg.SnapshotCount = 2000
	cfg.SnapshotCatchUpEntries = 500
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.EnableGRPCGateway = false
	cfg.LogLevel = "warn"
	cfg.LogOutputs = []string{"stderr"}
	return cfg, nil
}

// run keeps the member until ctx ends, then stops it with its data consistent on disk. It doesn't drain client
// connections as embed's Close would: those are API server watches that end with this process, and waiting for them
// takes seven seconds.
func (s *etcdServer) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.etcd.Server.Stop()
		return nil
	case err := <-s.etcd.Err():
		return err
	}
}
