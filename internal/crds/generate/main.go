// Command generate writes the CustomResourceDefinitions of internal/crds from Flux's own Go API types.
//
// Flux's modules still hold the v1beta2 types but no longer serve that version; Sluice serves it. The two versions are
// joined into one schema, so that the API server, which converts by renaming the version only, prunes nothing on the
// way from one to the other. The program stops when the two disagree in a way it has no rule for: a later Flux release
// must not change what old manifests may say without somebody looking.
//
// It takes no description from upstream and runs only at development time, by `go generate ./internal/crds`.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "crds.yaml", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	text, err := Generate()
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644)
}
