// Command sluice is the controller, the command line and the local platform in one binary; package cli has the commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-gitops/sluice/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // the first signal asks for an orderly end, the second ends the process
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], cli.System()))
}
