package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is the release, set by the linker (-X); empty in a plain `go build`.
var Version = ""

// BuildVersion gives the release, else the module's version, else "dev", with the commit where the build knows it.
func BuildVersion() (version, commit string) {
	version = Version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return orDev(version), ""
	}
	if version == "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return orDev(version), commit
}

func orDev(v string) string {
	if v == "" {
		return "dev"
	}
	return v
}

func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: none,
		RunE: func(*cobra.Command, []string) error {
			v, commit := BuildVersion()
			if commit != "" {
				commit = " " + commit
			}
			_, err := fmt.Fprintf(s.Out, "sluice %s%s %s %s/%s\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}}
}
