package cli

import (
	"os"
	"slices"
	"strings"
)

// sopsModes are the flags by which sops chose what to do before it had verbs, as its own and Flux's guides still write it:
// sops --encrypt --age … -i FILE.
var sopsModes = map[string]string{"--decrypt": "decrypt", "-d": "decrypt", "--encrypt": "encrypt", "-e": "encrypt", "--rotate": "rotate", "-r": "rotate", "--set": "set"}

// withVerb gives a command line in sops's former notation its verb: the flag's, else edit, when it begins with a flag or
// names a file. Whatever else it says stays; what has a verb already, or none of those, comes back as it is.
func withVerb(args []string) []string {
	if len(args) < 2 || args[0] != "secrets" && args[0] != "secret" {
		return args
	}
	rest := args[1:]
	if !strings.HasPrefix(rest[0], "-") {
		// A verb is one whether or not there is a file of its name.
		if info, err := os.Stat(rest[0]); len(rest) > 1 || err != nil || !info.Mode().IsRegular() || isVerb(rest[0]) {
			return args
		}
		return []string{args[0], "edit", rest[0]}
	}
	if rest[0] == "-h" || rest[0] == "--help" {
		return args
	}
	verb := ""
	var left, set []string
	for i := 0; i < len(rest); i++ {
		flag, value, inline := strings.Cut(rest[i], "=")
		mode, known := sopsModes[flag]
		switch {
		case !known || verb != "":
			left = append(left, rest[i])
		case mode != "set":
			verb = mode
		default: // --set 'PATH VALUE'
			if verb = mode; !inline && i+1 < len(rest) {
				i++
				value = rest[i]
			}
			path, text, _ := strings.Cut(strings.TrimSpace(value), "] ")
			set = []string{path + "]", text}
		}
	}
	if verb == "" {
		verb = "edit"
	}
	if verb == "edit" || verb == "set" { // they write in place, always, and have no flag for it
		left = slices.DeleteFunc(left, func(a string) bool { return a == "-i" || a == "--in-place" })
	}
	return slices.Concat([]string{args[0], verb}, left, set)
}

func isVerb(word string) bool {
	_, ok := groupOf[word]
	return ok || slices.Contains([]string{"publish", "keyservice", "filestatus", "e", "d", "help", "completion", "sweep"}, word)
}
