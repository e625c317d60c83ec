package keyring

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
)

// gpg runs the user's GnuPG, whose agent holds the private keys and asks for their passphrases. Neither its output nor
// its messages reach an error: only whether it could be started.
func (s *station) gpg(ctx context.Context, stdin []byte, args ...string) (out []byte, err error) {
	program := s.opts.Env("SOPS_GPG_EXEC")
	if program == "" {
		program = "gpg"
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = os.Environ()
	if home := s.opts.Env("GNUPGHOME"); home != "" {
		cmd.Env = append(cmd.Env, "GNUPGHOME="+home)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return nil, errNoGPG
		}
		if strings.Contains(strings.ToLower(stderr.String()), "no secret key") {
			return nil, errNotOurs
		}
		return nil, errGPGRefused
	}
	if stdout.Len() == 0 {
		// Some versions drop packets that they don't know and call that a success (getsops/sops#896).
		return nil, errGPGRefused
	}
	return stdout.Bytes(), nil
}

var (
	errNoGPG      = errors.New("there is no gpg program")
	errGPGRefused = errors.New("gpg refused")
)

// gpgDecrypt opens an armored message with a private key of the user's.
func (s *station) gpgDecrypt(ctx context.Context, armored string) ([]byte, error) {
	return s.gpg(ctx, []byte(armored), "--quiet", "-d")
}

// gpgEncrypt encrypts for a public key in the user's key ring, with the arguments that sops gives. A trailing ! picks a
// subkey.
func (s *station) gpgEncrypt(ctx context.Context, fingerprint string, dataKey []byte) ([]byte, error) {
	if fingerprint == "" || strings.HasPrefix(fingerprint, "-") {
		return nil, errGPGRefused
	}
	short, digits := fingerprint, 16
	if strings.HasSuffix(short, "!") {
		digits++
	}
	if len(short) > digits {
		short = short[len(short)-digits:]
	}
	out, err := s.gpg(ctx, dataKey, "--no-default-recipient", "--yes", "--encrypt", "-a", "-r", fingerprint, "--trusted-key", short, "--no-encrypt-to")
	return bytes.TrimSpace(out), err
}
