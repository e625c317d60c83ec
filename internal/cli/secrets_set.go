package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
	"github.com/sluice-gitops/sluice/internal/sops"
)

func newSecretsSet(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s, inPlace: true}
	var fromFile, fromStdin, idempotent bool
	cmd := &cobra.Command{Use: "set FILE PATH [VALUE]", Short: "Put one value into a sealed file",
		Long: `Set puts a value, written as JSON, at a path of a sealed file and seals it again. Values that do not change keep their
ciphertext. A value on the command line is seen by whoever lists processes: --value-stdin is not.`,
		Example: `  sluice secrets set db.yaml '["stringData"]["password"]' '"s3cret"'
  printf '"%s"' "$PASSWORD" | sluice secrets set --value-stdin db.yaml '["stringData"]["password"]'`,
		RunE: func(c *cobra.Command, args []string) error {
			if fromFile && fromStdin {
				return exitWith(conflicting(c, "--value-file and --value-stdin cannot both be given"), 1)
			}
			if want := map[bool]int{false: 3, true: 2}[fromStdin]; len(args) != want {
				return noFile(c, "set takes FILE PATH VALUE, or FILE PATH with --value-stdin")
			}
			at, err := sops.ParseTreePath(args[1])
			if err != nil {
				return exitWith(usage(c, err), 7)
			}
			var text []byte
			switch {
			case fromStdin:
				text, err = s.input()
			case fromFile:
				text, err = os.ReadFile(args[2])
			default:
				text = []byte(args[2])
			}
			if err != nil {
				return err
			}
			value, err := sops.ParseValue(text)
			if err != nil {
				return &fault.Fault{Code: "SLU-USAGE-033", Hop: fault.HopUsage, Seen: "the value is not JSON", Why: "text needs its quotes inside the shell's", Fix: `write '"text"', 8080, true, '{"a": "b"}' or '["a"]'`, Exit: 7}
			}
			return f.run(c.Context(), args[:1], func(ctx context.Context, e *secrets.Engine, path string, data []byte, _ bool) (secrets.Output, error) {
				return e.Set(ctx, path, data, at, value, idempotent)
			})
		}}
	fl := f.common(cmd)
	f.out(fl)
	f.mac(fl)
	f.policy(fl)
	fl.BoolVar(&fromFile, "value-file", false, "VALUE names a file that holds the value")
	fl.BoolVar(&fromStdin, "value-stdin", false, "read the value from standard input")
	fl.BoolVar(&idempotent, "idempotent", false, "leave the file as it is when it has the value already")
	thresholdIgnored(fl)
	return cmd
}

func newSecretsUnset(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s, inPlace: true}
	var idempotent bool
	cmd := &cobra.Command{Use: "unset FILE PATH", Short: "Take one value out of a sealed file",
		Example: `  sluice secrets unset db.yaml '["stringData"]["old"]'`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return noFile(c, "unset takes FILE PATH")
			}
			at, err := sops.ParseTreePath(args[1])
			if err != nil {
				return exitWith(usage(c, err), 7)
			}
			return f.run(c.Context(), args[:1], func(ctx context.Context, e *secrets.Engine, path string, data []byte, _ bool) (secrets.Output, error) {
				return e.Unset(ctx, path, data, at, idempotent)
			})
		}}
	fl := f.common(cmd)
	f.out(fl)
	f.mac(fl)
	f.policy(fl)
	fl.BoolVar(&idempotent, "idempotent", false, "leave the file as it is when it has no such value")
	thresholdIgnored(fl)
	return cmd
}

// thresholdIgnored takes a flag that sops has on set and unset, where it does nothing: the file keeps its own threshold.
func thresholdIgnored(fl *pflag.FlagSet) {
	fl.Int("shamir-secret-sharing-threshold", 0, "no effect")
	_ = fl.MarkHidden("shamir-secret-sharing-threshold")
}

// newSecretsEdit opens a sealed file in an editor.
func newSecretsEdit(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s, inPlace: true}
	var metadata bool
	cmd := &cobra.Command{Use: "edit FILE", Short: "Edit a sealed file in $SOPS_EDITOR or $EDITOR, without plaintext on a disk", Args: exactly("FILE"),
		Long: `Edit puts the plaintext into a file on a memory file system ($XDG_RUNTIME_DIR or /dev/shm), mode 0600 in a folder of
mode 0700, opens the editor on it, and seals what comes back. The file is removed on every way out; if sluice itself is
killed, a second process removes it. Values that did not change keep their ciphertext. What does not parse opens the
editor again; an unchanged file is not written (exit code 200). A file that does not exist yet is created by the rules.
vim, nvim and emacs are told to keep no swap, backup and undo files.

With --show-master-keys the text ends in the file's sops entry. What is changed there is taken, as far as .sops.yaml
allows: recipients (a new one needs no enc), key groups and their threshold, the choice of values.`,
		RunE: func(c *cobra.Command, args []string) error { return f.edit(c.Context(), args[0], metadata) }}
	fl := f.common(cmd)
	f.out(fl)
	f.mac(fl)
	f.recipients(fl)
	f.selects(fl)
	f.policy(fl)
	fl.BoolVarP(&metadata, "show-master-keys", "s", false, "show the sops entry too, and take what is changed there")
	return cmd
}

func (f *secretsFlags) edit(ctx context.Context, path string, metadata bool) error {
	e, err := f.engine()
	if err != nil {
		return err
	}
	watch, err := sweeper()
	if err != nil {
		return err
	}
	editor := f.streams.editor(watch)
	file, err := files.Read(path)
	if fault.ExitCode(err) == 100 && err != nil {
		if metadata {
			f.streams.note(path, []string{"the file is new: its recipients are those of the rules or the flags, and stand in it when it is edited again"})
		}
		out, err := e.Create(ctx, path, editor.Edit)
		if err != nil {
			return likeSOPS(err)
		}
		f.streams.note(path, out.Tell)
		return files.Write(path, out.Data)
	}
	if err != nil {
		return err
	}
	if err := file.Writable(); err != nil {
		return err
	}
	change := e.Edit
	if metadata {
		change = e.EditWithMetadata
	}
	out, err := change(ctx, path, file.Data, editor.Edit)
	if err != nil {
		return likeSOPS(err)
	}
	f.streams.note(path, out.Tell)
	return file.Replace(out.Data)
}
