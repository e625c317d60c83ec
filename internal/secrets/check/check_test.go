package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// person is somebody with an age key.
type person struct{ *age.X25519Identity }

func newPerson(t testing.TB) person {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return person{id}
}

func (p person) name() string { return p.Recipient().String() }

// open verifies with the person's key.
func (p person) open(ctx context.Context, path string, data []byte, f sops.Format) error {
	k := keyring.New(keyring.Options{}).For(keyring.Identity{Name: "test", Age: []age.Identity{p.X25519Identity}})
	_, err := sops.Open(ctx, k, path, data, f, sops.Enforce)
	return err
}

const secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: shop\nstringData:\n  password: hunter2-canary\n  user: admin-canary\n"

func rulesFor(names ...string) string {
	return "creation_rules:\n  - path_regex: .*\\.(yaml|env|json|ini)$\n    encrypted_regex: ^(data|stringData|password)$\n    age: \"" + strings.Join(names, ",") + "\"\n"
}

// seal seals by the rule of a .sops.yaml.
func seal(t testing.TB, config, name, plain string) string {
	t.Helper()
	f, err := rules.Parse(rules.Name, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.For(name)
	if err != nil || r == nil {
		t.Fatalf("rule %v, %v", r, err)
	}
	out, err := sops.Seal(t.Context(), []byte(plain), sops.FormatFor(name), sops.SealOptions{
		EncryptedRegex: r.EncryptedRegex, UnencryptedRegex: r.UnencryptedRegex, EncryptedSuffix: r.EncryptedSuffix, UnencryptedSuffix: r.UnencryptedSuffix,
		EncryptedCommentRegex: r.EncryptedCommentRegex, UnencryptedCommentRegex: r.UnencryptedCommentRegex, MACOnlyEncrypted: r.MACOnlyEncrypted,
		Recipients: r.Groups, ShamirThreshold: r.ShamirThreshold, Path: name,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func macLine(sealed string) string {
	_, rest, _ := strings.Cut(sealed, "    mac: ")
	line, _, _ := strings.Cut(rest, "\n")
	return "    mac: " + line + "\n"
}

// checked checks files in memory.
func checked(t testing.TB, files map[string]string, change func(*Options)) *Report {
	t.Helper()
	o := Options{Read: func(p string) ([]byte, error) {
		if text, ok := files[p]; ok {
			return []byte(text), nil
		}
		return nil, nil
	}}
	for name := range files {
		o.Files = append(o.Files, name)
	}
	if change != nil {
		change(&o)
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if _, ok := Checks[f.Check]; !ok {
			t.Errorf("check %s is in no list", f.Check)
		}
		if strings.Contains(fmt.Sprint(f), "canary") {
			t.Errorf("a finding quotes a value: %+v", f)
		}
	}
	return r
}

func places(r *Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s", f.place(), f.Check))
	}
	return strings.Join(out, "\n")
}

func TestPlainSecretsAreFound(t *testing.T) {
	me := newPerson(t)
	for name, tt := range map[string]struct{ file, text, want string }{
		"a Secret":                   {"a.yaml", secret, "a.yaml:7 plain-secret"},
		"without values":             {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {}\n", ""},
		"with empty values":          {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: '', b: null}\n", ""},
		"with Flux's variables":      {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  a: ${PASSWORD}\n", ""},
		"half a variable":            {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  a: canary${PASSWORD}\n", "a.yaml:5 plain-secret"},
		"second of a stream":         {"a.yaml", "kind: ConfigMap\napiVersion: v1\n---\n" + secret, "a.yaml:10 plain-secret"},
		"in a List":                  {"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  data:\n    a: Y2FuYXJ5\n", "a.yaml:7 plain-secret"},
		"in JSON, with tabs":         {"a.json", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Secret\",\n\t\"data\": {\n\t\t\"a\": \"Y2FuYXJ5\"\n\t}\n}\n", "a.json:5 plain-secret"},
		"another kind":               {"a.yaml", "apiVersion: x.io/v1\nkind: Secret\ndata: {a: b}\n", ""},
		"a ConfigMap":                {"a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: Secret}\n", ""},
		"a template":                 {"a.yaml", "{{ if }}\nkind: Secret\n", ""},
		"an anchor":                  {"a.yaml", "x: &v canary\napiVersion: v1\nkind: Secret\nstringData:\n  a: *v\n", "a.yaml:5 plain-secret"},
		"a literal of a generator":   {"kustomization.yaml", "secretGenerator:\n- name: a\n  literals:\n  - pw=canary\n  - other=${X}\n", "kustomization.yaml:4 plain-generator"},
		"a file by a sealed name":    {"db.sops.yaml", "a: b\n", "db.sops.yaml:1 plain-file"},
		"conflict marks":             {"a.yaml", "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", "a.yaml:2 conflict-markers"},
		"a text about conflicts":     {"a.md", "<<<<<<< HEAD\n=======\n>>>>>>> other\n", ""},
		"an alias that holds itself": {"a.yaml", "apiVersion: v1\nkind: List\nitems: &i\n- kind: SecretList\n  items: *i\n", ""},
	} {
		if got := places(checked(t, map[string]string{tt.file: tt.text, rules.Name: rulesFor(me.name())}, nil)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestGeneratorsReadSealedFiles(t *testing.T) {
	me := newPerson(t)
	config := rulesFor(me.name())
	files := map[string]string{rules.Name: config,
		"app/kustomization.yaml": "secretGenerator:\n- name: a\n  files:\n  - key=plain.json\n  - sealed.json\n  - notcovered.txt\n  envs:\n  - plain.env\n  - missing.env\n",
		"app/plain.json":         `{"password": "canary"}`, "app/sealed.json": seal(t, config, "app/sealed.json", `{"password": "canary"}`),
		"app/notcovered.txt": "x", "app/plain.env": "password=canary\n"}
	want := "app/kustomization.yaml:4 plain-generator\napp/kustomization.yaml:8 plain-generator"
	if got := places(checked(t, files, nil)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestTamperingThatSopsAcceptsIsFound is the matrix of what SOPS's MAC doesn't cover (and what it does): the second
// column is what sops says of the document, the third what the check says without a key, the fourth with one.
func TestTamperingThatSopsAcceptsIsFound(t *testing.T) {
	me, other := newPerson(t), newPerson(t)
	config := rulesFor(me.name())
	sealed := seal(t, config, "a.yaml", secret)
	twice := seal(t, rulesFor(me.name(), other.name()), "a.yaml", secret)
	if me.open(t.Context(), "a.yaml", []byte(sealed), sops.YAML) != nil {
		t.Fatal("the untouched document does not open")
	}
	value := func(key string) string {
		_, rest, _ := strings.Cut(sealed, "    "+key+": ")
		v, _, _ := strings.Cut(rest, "\n")
		return v
	}
	replace := func(in, old, with string) string {
		if !strings.Contains(in, old) {
			t.Fatalf("the document has no %q:\n%s", old, in)
		}
		return strings.Replace(in, old, with, 1)
	}
	for _, tt := range []struct {
		name, text     string
		sopsAccepts    bool
		blind, withKey string
	}{
		{"untouched", sealed, true, "", ""},
		{"renamed plain key", replace(sealed, "    namespace: shop", "    space: shop"), true, "", ""}, // listed in docs/secrets-check.md: Git's signature
		{"narrowed encrypted_regex", replace(sealed, "^(data|stringData|password)$", "^(data|stringData)$"), true, "narrowed-rule", "narrowed-rule"},
		{"another kind of rule", replace(sealed, "encrypted_regex: ^(data|stringData|password)$", "encrypted_suffix: stringData"), true, "narrowed-rule", "narrowed-rule"},
		{"injected recipient", replace(twice, "lastmodified", "lastmodified"), true, "unlisted-recipient", "unlisted-recipient"},
		{"forged whole with the public key", seal(t, config, "a.yaml", replace(secret, "hunter2", "forged")), true, "", ""}, // as above
		{"sealed for somebody else", seal(t, rulesFor(other.name()), "a.yaml", secret), false, "missing-recipient unlisted-recipient", "missing-recipient unlisted-recipient"},
		{"mac_only_encrypted added", replace(sealed, "    version: ", "    mac_only_encrypted: true\n    version: "), false, "mac-covers-less", "broken-mac mac-covers-less"},
		{"changed plain value", replace(sealed, "name: db", "name: web"), false, "", "broken-mac"},
		{"changed type", replace(sealed, "type:str]", "type:int]"), false, "", "tampered-value"},
		{"added plain value under the rule", replace(sealed, "stringData:\n", "stringData:\n    extra: canary\n"), false, "plain-value", "plain-value tampered-value"},
		{"removed value", replace(sealed, "    user: "+value("user")+"\n", ""), false, "", "broken-mac"},
		{"swapped values", replace(replace(replace(sealed, value("password"), "X"), value("user"), value("password")), "X", value("user")), false, "", "tampered-value"},
		{"truncated MAC", replace(sealed, macLine(sealed), ""), false, "broken-mac", "broken-mac"},
		{"removed value in plain again", replace(sealed, value("password"), "canary"), false, "plain-value", "plain-value tampered-value"},
	} {
		err := me.open(t.Context(), "a.yaml", []byte(tt.text), sops.YAML)
		if (err == nil) != tt.sopsAccepts {
			t.Errorf("%s: sops says %v", tt.name, err)
		}
		files := map[string]string{rules.Name: config, "a.yaml": tt.text}
		for _, look := range []struct {
			kind, want string
			change     func(*Options)
		}{{"blind", tt.blind, nil}, {"with the key", tt.withKey, func(o *Options) { o.Open = me.open }}} {
			var got []string
			for _, f := range checked(t, files, look.change).Findings {
				got = append(got, f.Check)
				if f.Fix == "" || f.Line == 0 && f.Check != Tampered && f.Check != string(rules.Missing) {
					t.Errorf("%s, %s: %+v names no line, or no fix", tt.name, look.kind, f)
				}
			}
			slices.Sort(got)
			if s := strings.Join(slices.Compact(got), " "); s != look.want {
				t.Errorf("%s, %s: %q, want %q", tt.name, look.kind, s, look.want)
			}
		}
	}
}

func TestPlainValuesAreFoundInEveryFormat(t *testing.T) {
	me := newPerson(t)
	config := "creation_rules:\n  - encrypted_regex: password\n    age: " + me.name() + "\n"
	for name, tt := range map[string]struct{ plain, old, with, want string }{
		"a.env":  {"password=canary1\nhost=h\n", "", "", "a.env:1 plain-value"},
		"a.ini":  {"[db]\npassword = canary1\nhost = h\n", "", "", "a.ini:2 plain-value"},
		"a.json": {`{"db": {"password": "canary1", "list": ["x"]}}`, "", "", "a.json:3 plain-value"},
		"a.yaml": {"db:\n    - password: canary1\n", "", "", "a.yaml:2 plain-value"},
	} {
		text := seal(t, config, name, tt.plain)
		at := strings.Index(text, "ENC[")
		end := at + strings.Index(text[at:], "]") + 1
		text = text[:at] + "canary2" + text[end:]
		if got := places(checked(t, map[string]string{rules.Name: config, name: text}, nil)); got != tt.want {
			t.Errorf("%s: %q, want %q\n%s", name, got, tt.want, text)
		}
	}
}

func TestWhatTheDefaultLeavesPlainIsHeldAgainstTheRule(t *testing.T) {
	me := newPerson(t)
	text := seal(t, "creation_rules: [{age: "+me.name()+"}]", "a.yaml", "data:\n    password_unencrypted: canary\n    b: c\n")
	if got, want := places(checked(t, map[string]string{rules.Name: rulesFor(me.name()), "a.yaml": text}, nil)), "a.yaml:2 plain-value"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRulesByCommentsAreFollowed(t *testing.T) {
	me := newPerson(t)
	config := "creation_rules: [{encrypted_comment_regex: SEAL, age: " + me.name() + "}]"
	text := seal(t, config, "a.yaml", "a:\n    # SEAL\n    b: canary\nc: d\n")
	if got := places(checked(t, map[string]string{rules.Name: config, "a.yaml": text}, func(o *Options) { o.Open = me.open })); got != "" {
		t.Errorf("an honest document: %s", got)
	}
	at := strings.Index(text, "ENC[")
	text = text[:at] + "canary" + text[at+strings.Index(text[at:], "]")+1:]
	if got := places(checked(t, map[string]string{rules.Name: config, "a.yaml": text}, nil)); got != "a.yaml:3 plain-value" {
		t.Errorf("a plain value: %q", got)
	}
}

func TestStreamsAreJudgedDocumentByDocument(t *testing.T) {
	me := newPerson(t)
	config := rulesFor(me.name())
	stream := seal(t, config, "a.yaml", secret) + "---\n" + secret
	r := checked(t, map[string]string{rules.Name: config, "a.yaml": stream}, nil)
	line := 1 + strings.Count(stream[:strings.LastIndex(stream, "  password: hunter2")], "\n")
	if got, want := places(r), fmt.Sprintf("a.yaml:%d plain-secret", line); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhoTheClusterIsDecidesWhatItCanOpen(t *testing.T) {
	me, other := newPerson(t), newPerson(t)
	config := rulesFor(me.name())
	files := map[string]string{rules.Name: config, "apps/a.yaml": seal(t, config, "a.yaml", secret)}
	for name, tt := range map[string]struct {
		cluster Cluster
		want    int
	}{
		"its own key":           {Cluster{Recipients: []string{me.name()}}, 0},
		"another key":           {Cluster{Recipients: []string{other.name()}}, 1},
		"one that decrypts":     {Cluster{Kustomizations: []Kustomization{{"a/b", "./apps", true, "keys"}}}, 0},
		"a cloud's identity":    {Cluster{Kustomizations: []Kustomization{{"a/b", "./apps", true, ""}}}, 1},
		"one that doesn't":      {Cluster{Kustomizations: []Kustomization{{"a/b", "./apps", false, ""}}}, 1},
		"one of another folder": {Cluster{Kustomizations: []Kustomization{{"a/b", "./app", false, ""}}}, 0},
	} {
		if got := len(checked(t, files, func(o *Options) { o.Cluster = &tt.cluster }).Findings); got != tt.want {
			t.Errorf("%s: %d findings, want %d", name, got, tt.want)
		}
	}
}

func TestEveryFormatSaysTheSame(t *testing.T) {
	r := &Report{Files: 3, Sealed: 1, Unverified: 1, Findings: []Finding{
		{Check: PlainSecret, Level: Error, File: "a b,c:d;e].yaml", Line: 7, Seen: "seen 100%", Why: "why", Fix: "fix it"},
		{Check: string(rules.Unruled), Level: Note, File: "x\n::error::forged", Seen: "s"}}}
	out := map[string]string{}
	for _, format := range Formats {
		var b bytes.Buffer
		if err := r.Write(&b, format, "v1"); err != nil {
			t.Fatal(err)
		}
		out[format] = b.String()
	}
	if got, want := out["github"], "::error file=a b%2Cc%3Ad;e].yaml,line=7,title=sluice plain-secret::seen 100%25: why; fix: fix it\n::notice file=x%0A%3A%3Aerror%3A%3Aforged,title=sluice no-rule::s\n"; got != want {
		t.Errorf("github\n%s\nwant\n%s", got, want)
	}
	if got, want := out["azure"], "##vso[task.logissue type=error;sourcepath=a b,c:d%3Be%5D.yaml;linenumber=7;code=plain-secret]seen 100%AZP25: why; fix: fix it\n##vso[task.logissue type=warning;sourcepath=x%0A::error::forged;code=no-rule]s\n"; got != want {
		t.Errorf("azure\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(out["text"], "\n::error") {
		t.Errorf("a file name begins a line:\n%s", out["text"])
	}
	var back struct {
		APIVersion string
		Report
	}
	if err := json.Unmarshal([]byte(out["json"]), &back); err != nil || back.APIVersion != "sluice/v1" || !slices.Equal(back.Findings, r.Findings) {
		t.Errorf("json: %v %+v", err, back)
	}
	checkSARIF(t, out["sarif"], len(r.Findings))
}

// checkSARIF holds a log against what the standard's schema requires of the parts that are used.
func checkSARIF(t *testing.T, text string, results int) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var log sarifLog
	if err := dec.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.HasSuffix(log.Schema, "sarif-2.1.0.json") || len(log.Runs) != 1 {
		t.Fatalf("version %s, schema %s, %d runs", log.Version, log.Schema, len(log.Runs))
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || len(run.Tool.Driver.Rules) != len(Checks) || len(run.Results) != results {
		t.Errorf("driver %q, %d rules, %d results", run.Tool.Driver.Name, len(run.Tool.Driver.Rules), len(run.Results))
	}
	for _, r := range run.Results {
		uri := r.Locations[0].Physical.Artifact.URI
		if r.RuleIndex < 0 || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.Message.Text == "" ||
			!slices.Contains([]string{"none", "note", "warning", "error"}, r.Level) || strings.ContainsAny(uri, " \n:;]") {
			t.Errorf("result %+v", r)
		}
		if reg := r.Locations[0].Physical.Region; reg != nil && reg.StartLine < 1 {
			t.Errorf("line %d", reg.StartLine)
		}
	}
}

// repository makes a Git repository.
func repository(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	put(t, dir, files)
	git(t, dir, "add", ".")
	git(t, dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one")
	return dir
}

func git(t testing.TB, dir string, args ...string) {
	t.Helper()
	if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func inGit(t testing.TB, dir string, staged bool, exclude []string, paths ...string) *Report {
	t.Helper()
	tr, err := NewTree(t.Context(), dir, staged)
	if err != nil {
		t.Fatal(err)
	}
	files, err := tr.Files(paths, exclude)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{Files: files, Read: tr.Read, Before: tr.Before})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOnlyTrackedOrStagedFilesCount(t *testing.T) {
	me := newPerson(t)
	config := rulesFor(me.name())
	dir := repository(t, map[string]string{rules.Name: config, "a.yaml": secret, "x/b.yaml": secret, "sealed.yaml": seal(t, config, "sealed.yaml", "password: canary\n")})
	put(t, dir, map[string]string{"untracked.yaml": secret, "staged.yaml": secret, "sealed.yaml": "password: canary\n"})
	git(t, dir, "add", "staged.yaml")
	put(t, dir, map[string]string{"staged.yaml": "a: b\n"}) // what is staged counts, not what lies there
	if err := os.Symlink("a.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "link.yaml")
	for _, tt := range []struct {
		staged  bool
		paths   []string
		exclude []string
		want    string
	}{
		{false, nil, nil, "a.yaml:7 plain-secret\nsealed.yaml:1 newly-plain\nx/b.yaml:7 plain-secret"},
		{false, []string{"x"}, nil, "x/b.yaml:7 plain-secret"},
		{false, nil, []string{"x", "sealed.*"}, "a.yaml:7 plain-secret"},
		{true, nil, nil, "staged.yaml:7 plain-secret"},
	} {
		var paths []string
		for _, p := range tt.paths {
			paths = append(paths, filepath.Join(dir, p))
		}
		if got := places(inGit(t, dir, tt.staged, tt.exclude, paths...)); got != tt.want {
			t.Errorf("staged %v, %v without %v:\n%s\nwant\n%s", tt.staged, tt.paths, tt.exclude, got, tt.want)
		}
	}
}

func TestTenThousandFilesTakeSeconds(t *testing.T) {
	me := newPerson(t)
	config := rulesFor(me.name())
	files := map[string]string{rules.Name: config}
	sealed := seal(t, config, "a.yaml", secret)
	for i := range 10000 {
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c%d\ndata:\n  a: b\n", i)
		if i%10 == 0 {
			text = sealed
		}
		files[fmt.Sprintf("apps/%d/%d.yaml", i%100, i)] = text
	}
	dir := repository(t, files)
	start := time.Now()
	r := inGit(t, dir, false, nil)
	took := time.Since(start)
	t.Logf("%d files, %d sealed, in %s", r.Files, r.Sealed, took)
	if r.Files != 10001 || r.Sealed != 1000 || r.Failed() {
		t.Errorf("%d files, %d sealed, findings %v", r.Files, r.Sealed, r.Findings)
	}
	if took > 10*time.Second {
		t.Errorf("%s is more than seconds", took)
	}
}
