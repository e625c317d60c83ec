package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Feature is a feature gate of Flux's kustomize-controller or source-controller.
type Feature string

// The gates that change what this controller does.
const (
	AdditiveCELDependencyCheck   Feature = "AdditiveCELDependencyCheck"
	StrictPostBuildSubstitutions Feature = "StrictPostBuildSubstitutions"
	ObjectLevelWorkloadIdentity  Feature = "ObjectLevelWorkloadIdentity"
	DisableConfigWatchers        Feature = "DisableConfigWatchers"
	DisableFailFastBehavior      Feature = "DisableFailFastBehavior"
	ExternalArtifact             Feature = "ExternalArtifact"
	MigrateAPIVersion            Feature = "MigrateAPIVersion"
)

// defaults are Flux 1.9's.
var defaults = map[Feature]bool{
	AdditiveCELDependencyCheck:   false,
	StrictPostBuildSubstitutions: true,
	ObjectLevelWorkloadIdentity:  false,
	DisableConfigWatchers:        false,
	DisableFailFastBehavior:      false,
	ExternalArtifact:             false,
	MigrateAPIVersion:            false,
}

// idle are Flux's gates about something that does not exist here: there is no status poller and no cache of Secrets, a
// newer revision always ends a health check, and sources are read from memory.
var idle = []Feature{
	"CacheSecretsAndConfigMaps", "CancelHealthCheckOnNewRevision", "DirectSourceFetch", "DisableStatusPollerCache",
	"GroupChangeLog",
}

// Features holds the gates that were set, the others have their defaults. Nil is ready to use.
type Features map[Feature]bool

// On says whether a gate is open.
func (f Features) On(name Feature) bool {
	if v, set := f[name]; set {
		return v
	}
	return defaults[name]
}

// ParseFeatures reads the values of --feature-gates ("A=true,B=false"). The warnings name gates that have no effect,
// those that nobody knows included: a Deployment written for another version of Flux must still start.
func ParseFeatures(values []string) (f Features, warnings []string, err error) {
	f = Features{}
	for _, pair := range strings.Split(strings.Join(values, ","), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		on, perr := strconv.ParseBool(strings.TrimSpace(value))
		if !ok || perr != nil {
			return nil, nil, fmt.Errorf("--feature-gates: %q is not NAME=true or NAME=false", pair)
		}
		gate := Feature(strings.TrimSpace(name))
		switch _, known := defaults[gate]; {
		case known:
			f[gate] = on
		case slices.Contains(idle, gate):
			warnings = append(warnings, "feature gate "+string(gate)+" has no effect: what it is about does not exist here")
		default:
			warnings = append(warnings, "feature gate "+string(gate)+" is unknown and has no effect")
		}
	}
	return f, warnings, nil
}
