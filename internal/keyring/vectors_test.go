package keyring

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"strings"
	"testing"

	agetest "c2sp.org/CCTV/age"
	"filippo.io/age/armor"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// vector is one published file of age's test suite: what a correct program makes of it.
type vector struct {
	expect, payload string
	identities      []string
	passphrase      bool
	file            string // armored
}

func readVector(t *testing.T, raw []byte) vector {
	t.Helper()
	var v vector
	compressed, armored := false, false
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		line, err := r.ReadString('\n')
		must(t, err)
		if line == "\n" {
			break
		}
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("header %q", line)
		}
		switch key {
		case "expect":
			v.expect = value
		case "payload":
			v.payload = value
		case "identity":
			v.identities = append(v.identities, value)
		case "passphrase":
			v.passphrase = true
		case "armored":
			armored = true
		case "compressed":
			compressed = true
		case "file key", "comment":
		default:
			t.Fatalf("unknown header %q", line)
		}
	}
	var body io.Reader = r
	if compressed {
		z, err := zlib.NewReader(r)
		must(t, err)
		body = z
	}
	file, err := io.ReadAll(body)
	must(t, err)
	if armored {
		v.file = string(file)
		return v
	}
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	_, err = w.Write(file)
	must(t, err)
	must(t, w.Close())
	v.file = out.String()
	return v
}

func TestPublishedAgeVectorsAreOpenedAndRefusedAsPublished(t *testing.T) {
	entries, err := fs.ReadDir(agetest.Vectors, ".")
	must(t, err)
	opened, refused := 0, 0
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			raw, err := fs.ReadFile(agetest.Vectors, e.Name())
			must(t, err)
			v := readVector(t, raw)
			keys := strings.Join(v.identities, "\n")
			if keys == "" {
				keys = ageKey(t).String() // scrypt: there is no passphrase to open it with
			}
			id, err := FromSecret("x", map[string][]byte{"a.agekey": []byte(keys)})
			must(t, err)
			doc := &sops.Metadata{KeyGroups: []recipient.Group{{&recipient.Age{Recipient: "age1x", EncryptedKey: v.file}}}}
			got, err := New(Options{}).For(id).DataKey(t.Context(), doc)
			sum := sha256.Sum256(got)
			switch {
			case v.expect != "success" || v.passphrase || len(got) > maxPart:
				refused++
				if err == nil {
					t.Errorf("opened; expected %s", v.expect)
				}
			case err != nil && strings.HasPrefix(e.Name(), "stream_"):
				refused++ // 64 KiB and more: no data key
			case err != nil:
				t.Error(err)
			case hex.EncodeToString(sum[:]) != v.payload:
				t.Error("opened to something else")
			default:
				opened++
			}
		})
	}
	if opened < 15 || refused < 80 {
		t.Errorf("%d opened, %d refused of %d: the vectors were not looked at", opened, refused, len(entries))
	}
	t.Logf("%d opened, %d refused", opened, refused)
}
