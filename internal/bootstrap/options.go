package bootstrap

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// imageRegistry is where the project publishes its image.
const imageRegistry = "ghcr.io/sluice-gitops"

const imageRepository = imageRegistry + "/sluice"

// Options choose what the components manifest names. The zero value is this release in DefaultNamespace, with the
// defaults of `flux install`.
type Options struct {
	Namespace string // of the components; DefaultNamespace if empty
	Version   string // as `sluice version` prints it; Release if empty
	Registry  string // host and folder of the image named sluice; the project's own if empty
	Image     string // of the controller; Registry's at Version if empty
	// FluxSources leaves all sources, GitRepositories among them, to Flux's source-controller, which runs beside.
	FluxSources bool
	Notify      bool // post events to Flux's notification-controller, which runs in the same namespace

	PullSecret       string   // Secret of the namespace that the image is pulled with; none if empty
	LogLevel         string   // trace, debug, info or error; info if empty
	ClusterDomain    string   // of the cluster's DNS; cluster.local if empty
	OwnNamespaceOnly bool     // the controller looks at no other namespace's objects
	NoNetworkPolicy  bool     // the NetworkPolicy is left out
	TolerationKeys   []string // taints that the pod bears, whatever their value and effect
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Version == "" {
		o.Version = Release
	}
	if o.Registry == "" {
		o.Registry = imageRegistry
	}
	if o.Image == "" {
		o.Image = strings.TrimRight(o.Registry, "/") + "/sluice:" + o.VersionLabel()
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	return o
}

// VersionLabel is the version as a label value or image tag: build metadata follows "_" for want of "+".
func (o Options) VersionLabel() string { return strings.ReplaceAll(o.Version, "+", "_") }

var imageReference = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

// logLevels are those of the controller's --log-level.
var logLevels = []string{"trace", "debug", "info", "error"}

// check refuses what would not survive as a plain YAML scalar, or what the API server would refuse later.
func (o Options) check() error {
	if errs := validation.IsDNS1123Label(o.Namespace); len(errs) > 0 {
		return fmt.Errorf("namespace %q: %s", o.Namespace, errs[0])
	}
	if errs := validation.IsValidLabelValue(o.VersionLabel()); len(errs) > 0 {
		return fmt.Errorf("version %q: %s", o.Version, errs[0])
	}
	if !imageReference.MatchString(o.Image) {
		return fmt.Errorf("image %q is not an image reference", o.Image)
	}
	if errs := validation.IsDNS1123Subdomain(o.PullSecret); o.PullSecret != "" && len(errs) > 0 {
		return fmt.Errorf("image pull secret %q: %s", o.PullSecret, errs[0])
	}
	if !slices.Contains(logLevels, o.LogLevel) {
		return fmt.Errorf("log level %q: it must be %s", o.LogLevel, strings.Join(logLevels, ", "))
	}
	if errs := validation.IsDNS1123Subdomain(o.ClusterDomain); len(errs) > 0 {
		return fmt.Errorf("cluster domain %q: %s", o.ClusterDomain, errs[0])
	}
	for _, key := range o.TolerationKeys {
		if errs := validation.IsQualifiedName(key); len(errs) > 0 {
			return fmt.Errorf("toleration key %q: %s", key, errs[0])
		}
	}
	return nil
}
