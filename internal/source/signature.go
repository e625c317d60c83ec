package source

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// What begins a signature, as Git writes it.
const (
	beginPGP = "-----BEGIN PGP SIGNATURE-----"
	beginSSH = "-----BEGIN SSH SIGNATURE-----"
)

// header is one field of a commit or tag: its value with continuation lines joined by line ends, and where it stands.
type header struct {
	name, value string
	from, to    int
}

// headersOf cuts a commit or tag into its headers and returns where the message begins. It takes the bytes as they are
// stored: whoever decodes and encodes them again may verify another object than the one whose tree is read.
func headersOf(raw []byte) (headers []header, body int, err error) {
	for at := 0; at < len(raw); {
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			return nil, 0, errors.New("a header has no end")
		}
		line, next := raw[at:at+end], at+end+1
		switch {
		case len(line) == 0:
			return headers, next, nil
		case bytes.IndexByte(line, 0) >= 0:
			return nil, 0, errors.New("a header holds a NUL")
		case line[0] == ' ':
			if len(headers) == 0 {
				return nil, 0, errors.New("the first header is a continuation")
			}
			last := &headers[len(headers)-1]
			last.value += "\n" + string(line[1:])
			last.to = next
		default:
			name, value, _ := strings.Cut(string(line), " ")
			headers = append(headers, header{name, value, at, next})
		}
		at = next
	}
	return headers, len(raw), nil
}

// ordered checks that headers begin with the named ones in this order, each once; "parent" may stand any number of times.
// None of them, and no signature, may stand twice.
func ordered(headers []header, names ...string) error {
	i := 0
	for _, name := range names {
		if name == "parent" {
			for i < len(headers) && headers[i].name == name {
				i++
			}
			continue
		}
		if i == len(headers) || headers[i].name != name {
			return fmt.Errorf("header %q is missing or not in its place", name)
		}
		i++
	}
	seen := map[string]bool{"gpgsig": false, "gpgsig-sha256": false}
	for _, h := range headers[i:] {
		twice, once := seen[h.name]
		if twice || slices.Contains(names, h.name) {
			return fmt.Errorf("header %q stands twice", h.name)
		}
		if once {
			seen[h.name] = true
		}
	}
	return nil
}

// soundCommit refuses a commit that two readers could read differently: with two trees, say.
func soundCommit(o plumbing.EncodedObject) error {
	raw, err := content(o)
	if err != nil {
		return err
	}
	headers, _, err := headersOf(raw)
	if err != nil {
		return err
	}
	return ordered(headers, "tree", "parent", "author", "committer")
}

// signedCommit gives what a commit's signature covers, the object's bytes without the signature headers, and the
// signature, empty if there is none.
func signedCommit(raw []byte) (payload []byte, signature string, err error) {
	headers, body, err := headersOf(raw)
	if err == nil {
		err = ordered(headers, "tree", "parent", "author", "committer")
	}
	if err != nil {
		return nil, "", err
	}
	for _, h := range headers {
		switch h.name {
		case "gpgsig":
			signature = h.value
		case "gpgsig-sha256":
		default:
			payload = append(payload, raw[h.from:h.to]...)
		}
	}
	if body > 0 && raw[body-1] == '\n' && len(headers) > 0 && body > headers[len(headers)-1].to {
		payload = append(payload, '\n')
	}
	return append(payload, raw[body:]...), signature, nil
}

// signedTag gives what a tag's signature covers, all that stands before it, and the signature, empty if there is none. The
// tag must be of the given name and of the commit itself: another object under the same signature is another statement.
func signedTag(raw []byte, name, commit string) (payload []byte, signature string, err error) {
	headers, body, err := headersOf(raw)
	if err == nil {
		err = ordered(headers, "object", "type", "tag")
	}
	if err != nil {
		return nil, "", err
	}
	switch {
	case headers[0].value != commit || headers[1].value != "commit":
		return nil, "", errors.New("the tag is not of the commit itself")
	case headers[2].value != name:
		return nil, "", fmt.Errorf("the tag object is named %q", quoted(headers[2].value))
	}
	start := -1
	for at := body; at < len(raw); {
		if rest := raw[at:]; bytes.HasPrefix(rest, []byte(beginPGP)) || bytes.HasPrefix(rest, []byte(beginSSH)) {
			start = at
		}
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			break
		}
		at += end + 1
	}
	if start < 0 {
		return raw, "", nil
	}
	return raw[:start], string(raw[start:]), nil
}
