package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// What of SPDX 2.3's JSON form (https://spdx.github.io/spdx-spec/v2.3/) describes a Go program.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		License       string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Version       string         `json:"versionInfo,omitempty"`
		File          string         `json:"packageFileName,omitempty"`
		Purpose       string         `json:"primaryPackagePurpose,omitempty"`
		Download      string         `json:"downloadLocation"`
		FilesAnalyzed bool           `json:"filesAnalyzed"`
		Concluded     string         `json:"licenseConcluded"`
		Declared      string         `json:"licenseDeclared"`
		Copyright     string         `json:"copyrightText"`
		Source        string         `json:"sourceInfo,omitempty"`
		Checksums     []spdxChecksum `json:"checksums,omitempty"`
		References    []spdxExternal `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const noAssertion = "NOASSERTION"

// SBOM lists what b is made of, as SPDX 2.3 JSON: the program, the Go standard library, every module that the linker
// recorded, and the extra modules whose data lie beside it. It says nothing about other modules' licenses, which
// neither the binary nor the module cache states reliably.
func SBOM(b Binary, version string, at time.Time, extra ...*debug.Module) ([]byte, error) {
	sum := sha256.Sum256(b.Data)
	digest := hex.EncodeToString(sum[:])
	program := spdxPackage{ID: "SPDXRef-sluice", Name: "sluice", Version: version, File: b.Target.Exe(), Purpose: "APPLICATION",
		Download: noAssertion, Concluded: noAssertion, Declared: "Apache-2.0", Copyright: noAssertion,
		Checksums:  []spdxChecksum{{"SHA256", digest}},
		References: []spdxExternal{purl(b.Info.Main.Path, version)}}
	d := spdxDocument{Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT",
		Name:      "sluice-" + version + "-" + b.Target.OS + "-" + b.Target.Arch,
		Namespace: "https://" + b.Info.Main.Path + "/spdx/" + digest,
		Creation:  spdxCreation{at.UTC().Format(time.RFC3339), []string{"Tool: sluice-dist"}},
		Packages:  []spdxPackage{program},
		Relationships: []spdxRelationship{
			{"SPDXRef-DOCUMENT", "DESCRIBES", program.ID},
		}}
	modules := slices.Concat([]*debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(b.Info.GoVersion, "go")}}, b.Info.Deps)
	for i, m := range modules {
		d.add(i, m, program.ID, "DEPENDS_ON")
	}
	for i, m := range extra {
		d.add(len(modules)+i, m, program.ID, "DEPENDS_ON")
	}
	out, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	return append(out, '\n'), nil
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// add writes down module number n, on which from relies. What replaces a module is what was linked.
func (d *spdxDocument) add(n int, m *debug.Module, from, as string) {
	if m.Replace != nil {
		m = m.Replace
	}
	p := spdxPackage{ID: fmt.Sprintf("SPDXRef-module-%d-%s", n, notInID.ReplaceAllString(m.Path, "-")), Name: m.Path, Version: m.Version,
		Download: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
		References: []spdxExternal{purl(m.Path, m.Version)}}
	if m.Sum != "" {
		p.Source = "go.sum " + m.Sum
	}
	d.Packages = append(d.Packages, p)
	d.Relationships = append(d.Relationships, spdxRelationship{from, as, p.ID})
}

// purl names a Go module as vulnerability scanners look it up.
func purl(path, version string) spdxExternal {
	locator := "pkg:golang/" + strings.ToLower(path)
	if version != "" {
		locator += "@" + strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
	}
	return spdxExternal{"PACKAGE-MANAGER", "purl", locator}
}
