package cli

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// docs/cli.md is generated from the commands themselves: go test ./internal/cli -run Reference -update
func TestReferenceSaysWhatTheCommandsSay(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nGenerated from the commands' own help by `make golden`.\n\n" + exitCodes + "\n")
	root := newRoot(Streams{Out: io.Discard, Err: io.Discard, Env: func(string) string { return "" }})
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	reference(&b, root)
	testkit.Golden(t, filepath.Join("..", "..", "docs", "cli.md"), b.Bytes())
}

func reference(b *bytes.Buffer, c *cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" || sub.Parent().Name() == "completion" {
			continue
		}
		sub.InitDefaultHelpFlag()
		if sub.Runnable() && !sub.HasAvailableSubCommands() || sub.Name() == "completion" {
			fmt.Fprintf(b, "\n## %s\n\n%s.\n\n    %s\n", sub.CommandPath(), strings.TrimSuffix(sub.Short, "."), sub.UseLine())
			if len(sub.Aliases) > 0 {
				fmt.Fprintf(b, "\nAliases: `%s`\n", strings.Join(sub.Aliases, "`, `"))
			}
			if sub.Long != "" {
				fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(sub.Long))
			}
			if sub.Example != "" {
				fmt.Fprintf(b, "\n```\n%s\n```\n", strings.Trim(sub.Example, "\n"))
			}
			flags(b, sub)
		}
		if sub.Name() != "completion" {
			reference(b, sub)
		}
	}
}

func flags(b *bytes.Buffer, c *cobra.Command) {
	rows := ""
	all := c.NonInheritedFlags()
	c.InheritedFlags().VisitAll(func(f *pflag.Flag) { all.AddFlag(f) })
	all.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		value := f.DefValue
		if value != "" {
			value = "`" + value + "`"
		}
		rows += fmt.Sprintf("| %s | %s | %s |\n", name, value, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
	if rows != "" {
		b.WriteString("\n| flag | default | |\n|---|---|---|\n" + rows)
	}
}
