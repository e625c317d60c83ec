package release

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// rootsModule is the module that pins the root certificates: its version, not the machine's, decides what is trusted.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

// RootsPackage is the package of it whose data Roots is.
const RootsPackage = rootsModule + "/bundle"

// Roots is Mozilla's list of root certificates as PEM. Roots that Mozilla trusts only with limits are left out, because
// a PEM file can't express them and would trust them wholly.
func Roots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return b.Bytes()
}

// RootsModule names the module and version that Roots comes from, as linked into this very program. The programs that
// `go test` makes don't know theirs.
func RootsModule() (*debug.Module, error) {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == rootsModule {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("the build information of this program does not name %s", rootsModule)
}
