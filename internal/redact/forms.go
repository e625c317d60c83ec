package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// formsOf returns every text that can stand for one of the values, each once.
func formsOf(values [][]byte) []string {
	seen := map[string]bool{"": true}
	var forms []string
	add := func(texts ...string) {
		for _, t := range texts {
			if !seen[t] {
				seen[t] = true
				forms = append(forms, t)
			}
		}
	}
	for _, value := range values {
		if strings.TrimSpace(string(value)) == "" {
			continue
		}
		for _, text := range pieces(string(value)) {
			add(text)
			add(escaped(text)...)
			add(encoded([]byte(text))...)
		}
	}
	return forms
}

// pieces returns the value, the value without surrounding white space, and its longer lines.
func pieces(value string) []string {
	texts := []string{value, strings.TrimSpace(value)}
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= 8 {
				texts = append(texts, line)
			}
		}
	}
	return texts
}

// escaped returns the text as it stands inside quotes in JSON, in JSON inside JSON, in Go, and in URLs.
func escaped(text string) []string {
	html, plain := jsonInner(text, true), jsonInner(text, false)
	goQuoted, goASCII := strconv.Quote(text), strconv.QuoteToASCII(text)
	return []string{
		html, plain, jsonInner(html, true), jsonInner(plain, false),
		goQuoted[1 : len(goQuoted)-1], goASCII[1 : len(goASCII)-1],
		url.QueryEscape(text), url.PathEscape(text),
	}
}

func jsonInner(text string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if err := e.Encode(text); err != nil { // a string always encodes
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
}

// encoded returns the base64 forms. Inside a longer encoded text a value may begin at any of three alignments, and its
// first and last characters then carry bits of its neighbours; what remains certain is matched if it is long enough to
// mean this value alone.
func encoded(value []byte) []string {
	var forms []string
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, enc.EncodeToString(value), enc.WithPadding(base64.NoPadding).EncodeToString(value))
		for shift := range 3 {
			shifted := append(make([]byte, shift), value...)
			whole := enc.WithPadding(base64.NoPadding).EncodeToString(shifted[:len(shifted)/3*3])
			if skip := []int{0, 2, 3}[shift]; len(whole) >= skip+8 {
				forms = append(forms, whole[skip:])
			}
		}
	}
	return forms
}
