package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
)

const tampered = `apiVersion: v1
kind: Secret
metadata:
    name: x
    labels:
        one: "1"
        two: "00"
stringData:
    password: CANARY-hunter2
    port: "8080"
    user: CANARY-admin
`

// tamper is a change to a sealed file, and who notices.
var tampering = []struct {
	name    string
	change  func(sealed string) string
	sops    bool   // upstream opens it without a word
	decrypt string // code of our refusal; empty: it opens, and says why not is in docs/secrets.md
	line    string // what the refusal names
	check   string // what check finds, with a key; empty: nobody but the commit's signature shows it
	seal    string // code with which set refuses to go on from there
}{
	{"changed plain value", replaced("name: x", "name: y"), false, "SLU-SOPS-007", "MAC mismatch", "broken-mac", "SLU-SOPS-007"},
	{"changed ciphertext", func(s string) string {
		return regexp.MustCompile(`(password: ENC\[AES256_GCM,data:)(.)`).ReplaceAllStringFunc(s, func(m string) string {
			return m[:len(m)-1] + map[bool]string{true: "B", false: "A"}[strings.HasSuffix(m, "A")]
		})
	}, false, "SLU-SOPS-006", "stringData.password cannot be decrypted (line 9)", "tampered-value", "SLU-SOPS-006"},
	{"plain value in the place of a sealed one", func(s string) string { return regexp.MustCompile(`port: ENC.*`).ReplaceAllString(s, `port: "1"`) }, false, "SLU-SOPS-006", "stringData.port cannot be decrypted (line 10)", "plain-value", "SLU-SOPS-006"},
	{"swapped values", func(s string) string {
		enc := regexp.MustCompile(`(password|user): (ENC.*)`).FindAllStringSubmatch(s, -1)
		return strings.NewReplacer(enc[0][2], enc[1][2], enc[1][2], enc[0][2]).Replace(s)
	}, false, "SLU-SOPS-006", "(line 9)", "tampered-value", "SLU-SOPS-006"},
	{"removed value", func(s string) string { return regexp.MustCompile(` +port: ENC.*\n`).ReplaceAllString(s, "") }, false, "SLU-SOPS-007", "MAC mismatch", "broken-mac", "SLU-SOPS-007"},
	{"added plain value", replaced("name: x", "name: x\n    namespace: y"), false, "SLU-SOPS-007", "MAC mismatch", "broken-mac", "SLU-SOPS-007"},
	{"renamed sealed key", replaced("password: ENC", "passwort: ENC"), false, "SLU-SOPS-006", "stringData.passwort cannot be decrypted (line 9)", "tampered-value", "SLU-SOPS-006"},
	{"truncation", func(s string) string { return s[:strings.Index(s, "    mac:")] }, false, "SLU-SOPS-007", "the file has no MAC", "broken-mac", "SLU-SOPS-007"},
	{"metadata cut off", func(s string) string { return s[:strings.Index(s, "sops:")] }, false, "SLU-SOPS-005", "no sops metadata", "plain-secret", "SLU-SOPS-005"},
	{"moved date", func(s string) string {
		return regexp.MustCompile(`lastmodified: ".*"`).ReplaceAllString(s, `lastmodified: "2020-01-01T00:00:00Z"`)
	}, false, "SLU-SOPS-007", "MAC mismatch", "broken-mac", "SLU-SOPS-007"},
	{"mac_only_encrypted switched on", replaced("    encrypted_regex:", "    mac_only_encrypted: true\n    encrypted_regex:"), false, "SLU-SOPS-007", "MAC mismatch", "mac-covers-less", "SLU-SOPS-007"},

	{"renamed plain key", replaced("labels:", "kustomize.toolkit.fluxcd.io/reconcile:"), true, "", "", "", ""},
	{"split and joined plain values", replaced("one: \"1\"\n        two: \"00\"", "one: \"100\""), true, "", "", "", ""},
	{"type of a sealed value", func(s string) string {
		return regexp.MustCompile(`(port: ENC.*type:)str`).ReplaceAllString(s, "${1}int")
	}, true, "", "", "", ""},
	{"narrowed rule", replaced("^(data|stringData)$", "^stringData$"), true, "", "", "narrowed-rule", "SLU-SECRET-001"},
	{"another kind of rule", replaced("encrypted_regex: ^(data|stringData)$", "encrypted_suffix: Data"), true, "", "", "narrowed-rule", "SLU-SECRET-001"},
}

func replaced(from, to string) func(string) string {
	return func(s string) string { return strings.Replace(s, from, to, 1) }
}

// Each row: refused with the line, or what SOPS cannot detect and the rules catch, or what only a commit's signature shows.
func TestTamperingIsRefusedOrCaughtByTheRulesOrListedAsUndetectable(t *testing.T) {
	b := newBench(t)
	b.write(".sops.yaml", "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: "+b.recipient+"\n")
	b.write("db.yaml", tampered)
	b.must("encrypt", "-i", "db.yaml")
	sealed := b.read("db.yaml")
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.must("rotate", "-i", "--allow-unlisted", "--add-age", other.Recipient().String(), "db.yaml")
	injected := b.read("db.yaml")
	b.must("encrypt", "-i", b.write("forged.yaml", strings.Replace(tampered, "hunter2", "forged", 1)))
	forged := b.read("forged.yaml")
	if err := os.Remove(b.path("forged.yaml")); err != nil {
		t.Fatal(err)
	}

	rows := append(tampering[:len(tampering):len(tampering)], tampering[0], tampering[0])
	rows[len(rows)-2].name, rows[len(rows)-2].change = "injected recipient", func(string) string { return injected }
	rows[len(rows)-1].name, rows[len(rows)-1].change = "whole file forged with the public key", func(string) string { return forged }
	for i, want := range [][2]string{{"unlisted-recipient", "SLU-SECRET-002"}, {"", ""}} {
		r := &rows[len(rows)-2+i]
		r.sops, r.decrypt, r.line, r.check, r.seal = true, "", "", want[0], want[1]
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.change(sealed)
			if text == sealed {
				t.Fatal("nothing was changed")
			}
			b.write("db.yaml", text)
			if code, _, _ := b.sops("decrypt", "db.yaml"); (code == 0) != tt.sops {
				t.Errorf("sops: exit %d", code)
			}
			code, _, errOut := b.sluice("decrypt", "db.yaml")
			if (code == 0) != (tt.decrypt == "") || !strings.Contains(errOut, tt.decrypt) || !strings.Contains(errOut, tt.line) || strings.Contains(errOut, "CANARY") {
				t.Errorf("decrypt: exit %d, want %s %q\n%s", code, tt.decrypt, tt.line, errOut)
			}
			code, out, errOut := b.sluice("check")
			if (code == 0) != (tt.check == "") || tt.check != "" && !regexp.MustCompile(`(?m)^db\.yaml(:\d+)?\t`+tt.check+`\t`).MatchString(out) || strings.Contains(out+errOut, "CANARY") {
				t.Errorf("check: exit %d, want %s\n%s%s", code, tt.check, out, errOut)
			}
			code, _, errOut = b.sluice("set", "db.yaml", `["stringData"]["new"]`, `"b"`)
			if (code == 0) != (tt.seal == "") || !strings.Contains(errOut, tt.seal) || tt.seal != "" && b.read("db.yaml") != text {
				t.Errorf("set: exit %d, want %s\n%s", code, tt.seal, errOut)
			}
		})
	}
}
