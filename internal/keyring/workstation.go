package keyring

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"filippo.io/age/plugin"

	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
)

// WorkstationOptions say where a person's keys are. The zero value is this process's own user and environment.
type WorkstationOptions struct {
	Env    func(string) string // nil: os.Getenv. The clouds' SDKs read the process's environment regardless
	Home   string              // the user's home; empty: os.UserHomeDir
	Stderr io.Writer           // what plugins and gpg have to say; nil: nothing is shown

	// Ask types a passphrase. nil: the terminal is asked, past standard input, as age does.
	Ask func(prompt string) (string, error)

	AWSProfile string // sops's --aws-profile; empty: the document's, else the SDK's default
}

// station is a person's machine as a source of keys. Nothing of it is read, started or dialled before a document asks
// for it.
type station struct {
	opts WorkstationOptions
	age  ageFiles
	ui   *plugin.ClientUI
}

// Workstation returns the identity of the person at the keyboard: the keys that the sops command would find, at the same
// places and by the same environment variables. Nothing is contacted, read or started until a document needs it, so its
// only error is that there is no home directory to look in.
//
// It must not serve a controller: it starts programs that the environment names.
func Workstation(_ context.Context, o WorkstationOptions) (Identity, error) {
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Home == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Identity{}, fmt.Errorf("home directory: %w", err)
		}
		o.Home = home
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	say := func(format string, v ...any) { fmt.Fprintf(o.Stderr, format+"\n", v...) }
	s := &station{opts: o, ui: plugin.NewTerminalUI(say, say)}
	if o.Ask != nil {
		s.ui.RequestValue = func(_, prompt string, _ bool) (string, error) { return o.Ask(prompt) }
	}
	id := Identity{Name: "workstation", Azure: &defaultAzure{}, station: s}
	id.AWS, id.Google = aws.Default(o.AWSProfile), gcp.Default(gcp.Endpoints{})
	id.Vault, id.VaultErr = s.vault()
	_, err := rand.Read(id.fingerprint[:])
	return id, err
}

// configDir is where sops looks for sops/age/keys.txt.
func (s *station) configDir() string {
	env, home := s.opts.Env, s.opts.Home
	switch runtime.GOOS {
	case "windows":
		return env("AppData")
	case "darwin":
		if dir := env("XDG_CONFIG_HOME"); dir != "" {
			return dir
		}
		return filepath.Join(home, "Library", "Application Support")
	}
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(home, ".config")
}

// run starts a program that the user's environment names and returns what it prints. Its errors hold no output.
func (s *station) run(ctx context.Context, variable, command string, env ...string) ([]byte, error) {
	words, err := splitCommand(command)
	if err != nil || len(words) == 0 {
		return nil, fmt.Errorf("%s is not a command line", variable)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = s.opts.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", variable, filepath.Base(words[0]), err)
	}
	return out, nil
}

// splitCommand splits a command line into words as a POSIX shell does, without expanding anything.
func splitCommand(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, escaped, quote := false, false, rune(0)
	for _, c := range line {
		switch {
		case escaped:
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
