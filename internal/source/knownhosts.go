package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is OpenSSH's known_hosts held in memory; the library's own reader wants a file. Certificate authorities
// are skipped: Flux's Secrets hold plain keys.
type knownHosts []knownHost

type knownHost struct {
	patterns []string
	key      ssh.PublicKey
	revoked  bool
}

func parseKnownHosts(data []byte) (knownHosts, error) {
	var hosts knownHosts
	for rest := data; len(bytes.TrimSpace(rest)) > 0; {
		marker, patterns, key, _, next, err := ssh.ParseKnownHosts(rest)
		if errors.Is(err, io.EOF) {
			break // comments only
		}
		if err != nil {
			return nil, err
		}
		if marker != "cert-authority" {
			hosts = append(hosts, knownHost{patterns: patterns, key: key, revoked: marker == "revoked"})
		}
		rest = next
	}
	if len(hosts) == 0 {
		return nil, errors.New("no host key in it")
	}
	return hosts, nil
}

// matches reports whether a line is about address, which is host:port. A negated pattern that matches wins.
func (k knownHost) matches(address string) bool {
	name := knownhosts.Normalize(address)
	found := false
	for _, pattern := range k.patterns {
		if strings.HasPrefix(pattern, "|") {
			found = found || hashedMatch(pattern, name)
			continue
		}
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !wildcardMatch(strings.ToLower(pattern), strings.ToLower(name)) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// wildcardMatch knows * and ?; brackets are literal, as in [host]:port.
func wildcardMatch(pattern, name string) bool {
	pattern = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`).Replace(pattern)
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// hashedMatch checks ssh-keygen -H's form: |1|salt|HMAC-SHA1(salt, name).
func hashedMatch(pattern, name string) bool {
	fields := strings.Split(pattern, "|")
	if len(fields) != 4 || fields[1] != "1" {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(fields[2])
	want, err2 := base64.StdEncoding.DecodeString(fields[3])
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// algorithms lists what to ask the server to prove itself with: those that address has keys for. Asking for more would
// let the server pick a key that is not in the list and look like an impostor. For an unknown host it is the kinds whose
// fingerprints hosts publish, the usual one first.
func (hs knownHosts) algorithms(address string) []string {
	var out []string
	for _, h := range hs {
		if h.revoked || !h.matches(address) {
			continue
		}
		types := []string{h.key.Type()}
		if types[0] == ssh.KeyAlgoRSA {
			types = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, t := range types {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	if out == nil {
		return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return out
}

// check returns the callback that accepts only a listed key of ep's host.
func (hs knownHosts) check(ep *endpoint) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		address, print := ep.address(), ssh.FingerprintSHA256(key)
		var known []string
		accepted := false
		for _, h := range hs {
			if !h.matches(address) {
				continue
			}
			same := bytes.Equal(h.key.Marshal(), key.Marshal())
			if same && h.revoked {
				return hostKeyFault(fmt.Sprintf("SSH host %s offers %s %s", address, key.Type(), print), "known_hosts marks this key as revoked",
					"ask whoever runs the host for its new key")
			}
			accepted = accepted || same
			if !h.revoked {
				known = append(known, ssh.FingerprintSHA256(h.key))
			}
		}
		if accepted {
			return nil
		}
		fix := fmt.Sprintf("run `%s`, compare the fingerprint with the one its owner publishes, and put the line under known_hosts in the Secret that spec.secretRef names", keyscan(ep))
		if len(known) == 0 {
			return hostKeyFault(fmt.Sprintf("unknown SSH host %s, which offers %s %s", address, key.Type(), print),
				"known_hosts has no key of this host", fix)
		}
		return hostKeyFault(fmt.Sprintf("SSH host %s offers %s %s", address, key.Type(), print),
			"known_hosts has another key for it ("+strings.Join(known, ", ")+"): the host was rebuilt, or someone stands in between", fix)
	}
}
