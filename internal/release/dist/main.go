// Command dist builds what is published, into one folder: `image` an OCI image without Docker, `release` archives of
// the binaries with checksums. It is run by make, from the repository's root, and pushes nothing.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sluice-gitops/sluice/internal/cli"
	"github.com/sluice-gitops/sluice/internal/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// publishable is what can stand in a file name, a label and, with "_" for "+", an image tag.
var publishable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$`)

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("dist image|release", flag.ContinueOnError)
	var (
		version  = f.String("version", "", "the release, such as v1.2.3; empty: dev")
		revision = f.String("revision", "", "the commit, for the image's labels")
		epoch    = f.Int64("epoch", 0, "Unix time that everything gets: the commit's")
		targets  = f.String("targets", "", "OS/ARCH, comma-separated; empty: all that there are")
		out      = f.String("o", "dist", "folder to write")
	)
	if len(args) == 0 {
		return fmt.Errorf("dist image|release [flags]")
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if *version == "" {
		*version = "dev"
	}
	if !publishable.MatchString(*version) {
		return fmt.Errorf("version %q is no name for a release", *version)
	}
	r := release.Release{Version: *version, Revision: *revision, Time: time.Unix(*epoch, 0)}
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("%w (dist runs in the repository's root)", err)
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	switch args[0] {
	case "image":
		return image(ctx, *out, r, cmp.Or(*targets, "linux/amd64,linux/arm64"), license)
	case "release":
		list := release.Targets
		if *targets != "" {
			if list, err = release.ParseTargets(*targets); err != nil {
				return err
			}
		}
		if err := release.Archives(ctx, *out, r, list, said(release.Go(".", stamp(r))), release.Licenses("."), cli.Command(), license); err != nil {
			return err
		}
		fmt.Printf("%s/%s lists what was written\n", *out, release.Sums)
		return nil
	}
	return fmt.Errorf("%q is neither image nor release", args[0])
}

func image(ctx context.Context, out string, r release.Release, targets string, license []byte) error {
	list, err := release.ParseTargets(targets)
	if err != nil {
		return err
	}
	roots, err := release.RootsModule()
	if err != nil {
		return err
	}
	build := said(release.Go(".", stamp(r)))
	images := map[release.Target]v1.Image{}
	for _, t := range list {
		b, err := build(ctx, t)
		if err != nil {
			return err
		}
		notices, err := release.Licenses(".", release.RootsPackage)(ctx, t)
		if err != nil {
			return err
		}
		if images[t], err = release.Image(r, b, license, notices, roots); err != nil {
			return err
		}
	}
	index := release.Index(images)
	archive, err := release.WriteImage(out, r, index)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s:%s@%s\n", archive, release.Repository, r.Tag(), digest)
	return nil
}

// stamp is what the binary says of itself: nothing for a build without a version, which then calls itself dev.
func stamp(r release.Release) string {
	if r.Version == "dev" {
		return ""
	}
	return r.Version
}

// said tells how long each build took: the first for a target compiles every dependency.
func said(build release.Builder) release.Builder {
	return func(ctx context.Context, t release.Target) (release.Binary, error) {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "building for %s …", t)
		b, err := build(ctx, t)
		fmt.Fprintf(os.Stderr, " %s\n", time.Since(began).Round(time.Second))
		return b, err
	}
}
