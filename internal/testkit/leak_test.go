package testkit

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestACanaryIsFoundInEveryForm(t *testing.T) {
	const value = "p\"<ä>&\\7?>~"
	asJSON := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	texts := map[string]string{
		"raw": "x" + value + "x", "JSON": asJSON(map[string]string{"k": value}), "twice": asJSON(asJSON(value)), "Go": fmt.Sprintf("%q", value),
		"hex": fmt.Sprintf("%x", value), "HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
	}
	for name, enc := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw std": base64.RawStdEncoding, "raw url": base64.RawURLEncoding} {
		for before := range 4 {
			for after := range 4 {
				texts[fmt.Sprint(name, before, after)] = enc.EncodeToString([]byte(strings.Repeat("\xff", before) + value + strings.Repeat("\xfe", after)))
			}
		}
	}
	for name, text := range texts {
		if Canary(value).In([]byte(text)) == "" {
			t.Errorf("%s: not found in %s", name, text)
		}
		if form := Canary("another" + value[7:]).In([]byte(text)); form != "" {
			t.Errorf("%s: a value that is not there is found as %s", name, form)
		}
	}
}
