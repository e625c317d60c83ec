package cli

import "github.com/spf13/cobra"

func newBootstrapHosts(b *bootstrapFlags) []*cobra.Command { return nil }
