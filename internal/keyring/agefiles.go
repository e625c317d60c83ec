package keyring

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
)

// Variables by which sops finds age identities.
const (
	envAgeKey     = "SOPS_AGE_KEY"
	envAgeKeyFile = "SOPS_AGE_KEY_FILE"
	envAgeKeyCmd  = "SOPS_AGE_KEY_CMD"
	envAgeSSHFile = "SOPS_AGE_SSH_PRIVATE_KEY_FILE"
	envAgeSSHCmd  = "SOPS_AGE_SSH_PRIVATE_KEY_CMD"
	envRecipient  = "SOPS_AGE_RECIPIENT" // told to the commands
)

// maxKeyFile bounds a file of identities, in bytes.
const maxKeyFile = 16 << 20

// ageFiles are a person's age identities, read once.
type ageFiles struct {
	once   sync.Once
	found  []age.Identity
	faults []string // why a place that exists could not be used
	places []string // looked at, for the message that nothing was found

	mu         sync.Mutex
	byCommand  map[string][]age.Identity // by recipient
	cmdFaults  map[string][]string
	unwrapping sync.Mutex // plugins and passphrases talk to one person
}

// ageIdentities reads the places that need no program to be started.
func (s *station) ageIdentities() []age.Identity {
	f := &s.age
	f.once.Do(func() {
		take := func(place string, ids []age.Identity, err error) {
			f.places = append(f.places, place)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				f.faults = append(f.faults, place+": "+err.Error())
			}
			f.found = append(f.found, ids...)
		}
		if v := s.opts.Env(envAgeKey); v != "" {
			ids, err := s.parseAge(envAgeKey, []byte(strings.Join(strings.Fields(withoutComments(v)), "\n")))
			take(envAgeKey, ids, err)
		}
		keyFiles := []string{s.opts.Env(envAgeKeyFile)}
		if dir := s.configDir(); dir != "" {
			keyFiles = append(keyFiles, filepath.Join(dir, "sops", "age", "keys.txt"))
		}
		for i, path := range keyFiles {
			if path == "" {
				continue
			}
			raw, err := readKeyFile(path)
			if i == 0 && errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("there is no such file, but %s names it", envAgeKeyFile)
			}
			var ids []age.Identity
			if err == nil {
				ids, err = s.parseAge(path, raw)
			}
			take(path, ids, err)
		}
		for i, path := range []string{s.opts.Env(envAgeSSHFile), filepath.Join(s.opts.Home, ".ssh", "id_ed25519"), filepath.Join(s.opts.Home, ".ssh", "id_rsa")} {
			if path == "" {
				continue
			}
			raw, err := readKeyFile(path)
			if i == 0 && errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("there is no such file, but %s names it", envAgeSSHFile)
			}
			var ids []age.Identity
			if err == nil {
				ids, err = s.parseSSH(path, raw)
			}
			take(path, ids, err)
		}
	})
	return f.found
}

// ageFromCommands asks the user's own programs for the key of one recipient, once for each recipient.
func (s *station) ageFromCommands(ctx context.Context, recipient string) []age.Identity {
	f := &s.age
	f.mu.Lock()
	defer f.mu.Unlock()
	if ids, ok := f.byCommand[recipient]; ok {
		return ids
	}
	var found []age.Identity
	var faults []string
	for _, src := range []struct {
		variable string
		parse    func(string, []byte) ([]age.Identity, error)
	}{{envAgeKeyCmd, s.parseAge}, {envAgeSSHCmd, s.parseSSH}} {
		command := s.opts.Env(src.variable)
		if command == "" {
			continue
		}
		out, err := s.run(ctx, src.variable, command, envRecipient+"="+recipient)
		if ctx.Err() != nil {
			return nil // not the command's fault, and not worth remembering
		}
		var ids []age.Identity
		if err == nil {
			ids, err = src.parse(src.variable, out)
			clear(out)
		}
		if err != nil {
			faults = append(faults, err.Error())
		}
		found = append(found, ids...)
	}
	if f.byCommand == nil {
		f.byCommand, f.cmdFaults = map[string][]age.Identity{}, map[string][]string{}
	}
	f.byCommand[recipient], f.cmdFaults[recipient] = found, faults
	return found
}

// ageProblems tells why places that exist, or commands, gave no identity.
func (s *station) ageProblems(recipient string) []string {
	s.ageIdentities()
	s.age.mu.Lock()
	defer s.age.mu.Unlock()
	return append(append([]string(nil), s.age.faults...), s.age.cmdFaults[recipient]...)
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

func withoutComments(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// parseAge reads identities, one a line, or a file of them that is itself encrypted with a passphrase.
func (s *station) parseAge(place string, raw []byte) ([]age.Identity, error) {
	if bytes.HasPrefix(raw, []byte("age-encryption")) || bytes.HasPrefix(raw, []byte("-----BEGIN AGE")) {
		if bytes.HasPrefix(raw, []byte("-----")) {
			inner, err := io.ReadAll(io.LimitReader(armor.NewReader(bytes.NewReader(raw)), maxKeyFile))
			if err != nil {
				return nil, errors.New("its armor is damaged")
			}
			raw = inner
		}
		return []age.Identity{&lockedAge{contents: raw, passphrase: func() (string, error) {
			return s.ui.RequestValue("", fmt.Sprintf("Enter passphrase for identity '%s':", place), true)
		}}}, nil
	}
	var ids []age.Identity
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := s.parseIdentity(line)
		if err != nil { // the parsers quote the line
			return nil, fmt.Errorf("line %d is not an age identity", n)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (s *station) parseIdentity(line string) (age.Identity, error) {
	if strings.HasPrefix(line, "AGE-PLUGIN-") {
		return plugin.NewIdentity(line, s.ui)
	}
	ids, err := age.ParseIdentities(strings.NewReader(line))
	if err != nil {
		return nil, err
	}
	return ids[0], nil
}

// parseSSH reads an SSH private key. One with a passphrase is usable too: it is asked for when a document has a recipient
// of that key, and not before.
func (s *station) parseSSH(place string, raw []byte) ([]age.Identity, error) {
	id, err := agessh.ParseIdentity(raw)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			return nil, errors.New("it is not an SSH private key of a kind that age takes (ed25519, RSA)")
		}
		return []age.Identity{id}, nil
	}
	public := locked.PublicKey
	if public == nil {
		text, err := readKeyFile(place + ".pub")
		if err == nil {
			public, _, _, _, err = ssh.ParseAuthorizedKey(text)
		}
		if err != nil {
			return nil, errors.New("it has a passphrase, and its public half is not beside it")
		}
	}
	encrypted, err := agessh.NewEncryptedSSHIdentity(public, raw, func() ([]byte, error) {
		pass, err := s.ui.RequestValue("", fmt.Sprintf("Enter passphrase for %q:", place), true)
		return []byte(pass), err
	})
	if err != nil {
		return nil, errors.New("it is not an SSH private key of a kind that age takes (ed25519, RSA)")
	}
	return []age.Identity{encrypted}, nil
}
