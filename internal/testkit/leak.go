package testkit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Canary is a secret value that nothing which leaves the process may hold, in any of the forms in which values travel.
type Canary string

// forms names each: raw, escaped as in JSON (with and without HTML escapes, and twice), hex, and base64 in both
// alphabets at each of the three alignments that it may have inside a longer text. Padding makes no difference to what
// is searched: the characters that carry bits of neighbours are left out.
func (c Canary) forms() map[string]string {
	inner := func(text string, html bool) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		_ = e.Encode(text) // a string always encodes
		return strings.Trim(strings.TrimSuffix(b.String(), "\n"), `"`)
	}
	raw := string(c)
	forms := map[string]string{
		"raw": raw, "JSON": inner(raw, false), "JSON, HTML escapes": inner(raw, true), "JSON in JSON": inner(inner(raw, true), true),
		"hex": hex.EncodeToString([]byte(raw)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(raw))),
	}
	for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for shift := range 3 {
			text := enc.EncodeToString(append(make([]byte, shift), raw...))
			first := []int{0, 2, 3}[shift]
			last := len(text) - []int{0, 1, 1}[(shift+len(raw))%3]
			forms[name+", shifted by "+string('0'+rune(shift))] = text[first:last]
		}
	}
	return forms
}

// In returns in which form data holds the value, empty if in none.
func (c Canary) In(data []byte) string {
	for name, form := range c.forms() {
		if bytes.Contains(data, []byte(form)) {
			return name
		}
	}
	return ""
}

// MustNotHold fails the test for each canary that data holds. It does not print data.
func MustNotHold(t testing.TB, what string, data []byte, canaries ...Canary) {
	t.Helper()
	for _, c := range canaries {
		if form := c.In(data); form != "" {
			t.Errorf("%s holds the secret %q (%s)", what, string(c), form)
		}
	}
}

// FolderMustNotHold searches every file below dir, what is gzipped also unpacked, and returns how many there were.
func FolderMustNotHold(t testing.TB, dir string, canaries ...Canary) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // gone since, or a socket
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		files++
		MustNotHold(t, path, data, canaries...)
		if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			unpacked, _ := io.ReadAll(r)
			MustNotHold(t, path+", unpacked", unpacked, canaries...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
