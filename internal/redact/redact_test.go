package redact

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/url"
	"strings"
	"testing"
)

func of(values ...string) *Redactor {
	raw := make([][]byte, len(values))
	for i, v := range values {
		raw[i] = []byte(v)
	}
	return New(raw...)
}

func TestValuesAreHiddenInEveryForm(t *testing.T) {
	const value = "p<ä>ss\"w\\ord/+?"
	asJSON := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for name, text := range map[string]string{
		"raw":              "expected string, got " + value + "!",
		"json":             asJSON(map[string]string{"data": value}),
		"json in json":     asJSON(asJSON(map[string]string{"data": value})),
		"go":               fmt.Sprintf("got %q here", value),
		"go, ascii":        fmt.Sprintf("got %+q here", value),
		"base64":           base64.StdEncoding.EncodeToString([]byte(value)),
		"base64, url":      base64.URLEncoding.EncodeToString([]byte(value)),
		"base64, raw":      base64.RawStdEncoding.EncodeToString([]byte(value)),
		"base64, in a doc": base64.StdEncoding.EncodeToString([]byte("user:" + value + "\n")),
		"query":            "https://x/?p=" + url.QueryEscape(value) + "&b=1",
	} {
		t.Run(name, func(t *testing.T) {
			got := of(value).Redact(text)
			if !strings.Contains(got, Mark) || strings.Contains(got, "ss") || strings.Contains(got, "ord") {
				t.Errorf("%s\nleaves %s", text, got)
			}
		})
	}
}

func TestTheRestOfTheMessageStays(t *testing.T) {
	got := of("hunter2-hunter2").Redact(`Secret "db" is invalid: data.password: Invalid value: "hunter2-hunter2": must be base64`)
	if want := `Secret "db" is invalid: data.password: Invalid value: "[redacted]": must be base64`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestShortValuesDoNotShredMessages(t *testing.T) {
	for _, tt := range []struct{ value, text, want string }{
		{"1", `port 31 of "1" is not '1' or 1`, `port 31 of "[redacted]" is not '[redacted]' or 1`},
		{"no", `no "no" in none`, `no "[redacted]" in none`},
		{"dev", `dev: device "dev" in dev.`, `[redacted]: device "[redacted]" in [redacted].`},
		{"admin", `admins: admin-admin`, `admins: [redacted]-[redacted]`},
		{"secret", `secrets`, `[redacted]s`},
		{"", `stays`, `stays`},
		{" \n ", `s t a y s`, `s t a y s`},
	} {
		if got := of(tt.value).Redact(tt.text); got != tt.want {
			t.Errorf("%q in %q: got %q, want %q", tt.value, tt.text, got, tt.want)
		}
	}
}

func TestOverlappingValuesLeaveNoRest(t *testing.T) {
	if got := of("abcdefgh", "efghijkl", "ijklmnop").Redact("<abcdefghijklmnop>"); got != "<[redacted]>" {
		t.Error(got)
	}
	if got := of("aabaab").Redact("xaabaabaabx"); got != "x[redacted]x" {
		t.Error(got)
	}
}

func TestLinesOfALongValueAreHiddenAlone(t *testing.T) {
	got := of("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n").Redact("bad line: MIIEvQIBADANBg")
	if got != "bad line: [redacted]" {
		t.Error(got)
	}
}

func TestNilHidesNothing(t *testing.T) {
	var r *Redactor
	if got := r.Redact("as it is"); got != "as it is" {
		t.Error(got)
	}
}

// TestNoValueSurvivesRandomTexts embeds random values in random surroundings and encodings, and looks for them after.
func TestNoValueSurvivesRandomTexts(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	const alphabet = "abcXYZ019 \"\\\n\t<&/+=%äß:{}"
	random := func(least, most int) string {
		runes := []rune(alphabet)
		out := make([]rune, least+r.Intn(most-least+1))
		for i := range out {
			out[i] = runes[r.Intn(len(runes))]
		}
		return string(out)
	}
	encodings := []func(string) string{
		func(s string) string { return s },
		func(s string) string { return jsonInner(s, true) },
		func(s string) string { return jsonInner(s, false) },
		func(s string) string { return fmt.Sprintf("%q", s) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		url.QueryEscape, url.PathEscape,
	}
	for range 3000 {
		a, b := "S"+random(12, 40)+"E", "S"+random(12, 40)+"E"
		hide := of(a, b)
		encode := encodings[r.Intn(len(encodings))]
		text := random(0, 20) + encode(a) + random(0, 20) + encode(b) + random(0, 20)
		got := hide.Redact(text)
		for _, v := range []string{a, b} {
			if strings.Contains(got, encode(v)) || strings.Contains(got, v) {
				t.Fatalf("%q survives in %q", v, got)
			}
		}
		if again := hide.Redact(got); again != got {
			t.Fatalf("not settled: %q, then %q", got, again)
		}
	}
}

// FuzzRedact holds that a redacted text does not hold the value, unless the value is part of Mark.
func FuzzRedact(f *testing.F) {
	f.Add("hunter22", "got hunter22 and hunter22hunter22")
	f.Add("\xff\xfe\xfd\xfc\xfb\xfa", "bytes \xff\xfe\xfd\xfc\xfb\xfa")
	f.Add("aaaaaa", "aaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, value, text string) {
		got := of(value).Redact(text)
		if len(value) < 6 || strings.TrimSpace(value) == "" || strings.ContainsAny(value, Mark) {
			return
		}
		if strings.Contains(got, value) {
			t.Errorf("%q survives in %q", value, got)
		}
	})
}
