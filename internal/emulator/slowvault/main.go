// Command slowvault is an emulated Azure with one vault and one RSA key, whose vault takes a while for each request, as
// one does over the Internet: what bench measures secrets against.
//
// It prints one JSON line with what clients need (State), then, for each line on standard input, one with the requests
// that it was asked so far; it ends with its input. It stands on package emulator and knows nothing of ours that talks to
// Azure. It refuses nothing: it is no part of the product.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

// State is the first line.
type State struct {
	Developer []string // environment of a process that is the developer, who may do everything
	Workload  []string // environment of a pod of flux-system/kustomize-controller, which may get and decrypt
	Key       string   // URL with version
}

func main() {
	dir := flag.String("dir", "", "folder for the emulator's state and the workload's token")
	delay := flag.Duration("delay", 20*time.Millisecond, "what each Key Vault request takes longer")
	flag.Parse()
	if err := run(*dir, *delay); err != nil {
		fmt.Fprintln(os.Stderr, "slowvault:", err)
		os.Exit(1)
	}
}

func run(dir string, delay time.Duration) error {
	e, err := emulator.Open(emulator.Options{Dir: dir, VaultDelay: delay})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	defer func() { stop(); <-done }()
	out := json.NewEncoder(os.Stdout)
	state, err := onboard(e, dir)
	if err != nil {
		return err
	}
	if err := out.Encode(state); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := out.Encode(e.Requests()); err != nil {
			return err
		}
	}
	return nil
}
