package secrets

import (
	"time"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// Status is what can be seen of a file without any key.
type Status struct {
	File       string      `json:"file"`
	Encrypted  bool        `json:"encrypted"`
	Format     sops.Format `json:"format"`
	Rule       string      `json:"rule,omitempty"`       // what is encrypted
	Recipients string      `json:"recipients,omitempty"` // who can decrypt it
	Changed    *time.Time  `json:"lastmodified,omitempty"`
	Version    string      `json:"version,omitempty"` // of the sops that sealed it
	Secret     bool        `json:"secret,omitempty"`  // a Kubernetes Secret in plain
}

// Status tells what a file is. As for sops, a document without version or MAC is not an encrypted one.
func (e *Engine) Status(path string, data []byte) (Status, error) {
	in, _ := e.formats(path)
	s := Status{File: path, Format: in}
	name := e.name(path)
	if e.In != "" { // --input-type speaks, not the name
		name = "named." + map[sops.Format]string{sops.YAML: "yaml", sops.JSON: "json", sops.Dotenv: "env", sops.INI: "ini"}[e.In]
	}
	if !sops.IsEncrypted(name, data) {
		_, s.Secret = manifests(data, in)
		return s, nil
	}
	if err := readable(path, data, in); err != nil {
		return s, err
	}
	m, err := sops.Peek(path, data, in)
	if err != nil {
		return s, err
	}
	s.Encrypted = m.Version != "" && m.MessageAuthenticationCode != ""
	s.Rule, s.Recipients, s.Version, s.Changed = ruleOf(m), names(m.KeyGroups), m.Version, &m.LastModified
	return s, nil
}

func ruleOf(m *sops.Metadata) string {
	for _, r := range []struct{ name, value string }{
		{"encrypted_regex", m.EncryptedRegex}, {"unencrypted_regex", m.UnencryptedRegex},
		{"encrypted_suffix", m.EncryptedSuffix}, {"encrypted_comment_regex", m.EncryptedCommentRegex},
		{"unencrypted_comment_regex", m.UnencryptedCommentRegex}, {"unencrypted_suffix", m.UnencryptedSuffix},
	} {
		if r.value != "" {
			return r.name + " " + r.value
		}
	}
	return "everything"
}
