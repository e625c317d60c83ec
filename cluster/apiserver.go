package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	cliflag "k8s.io/component-base/cli/flag"
	apiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const (
	// serviceRange is AKS's default, and large enough not to run out.
	serviceRange = "10.0.0.0/16"
	serviceIP    = "10.0.0.1"
	// inClusterAudience is what tokens for the API server name when the issuer is not the API server itself.
	inClusterAudience = "https://kubernetes.default.svc"
)

// authenticationConfig lets anonymous requests see whether the server lives, and nothing else.
const authenticationConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
`

// apiserverFlags are kube-apiserver's. What turns things off says why.
func apiserverFlags(o *runOptions, p *pki) []string {
	return []string{
		"--bind-address=" + o.Bind,
		"--secure-port=" + strconv.Itoa(o.APIPort),
		"--tls-cert-file=" + p.cert("apiserver"),
		"--tls-private-key-file=" + p.key("apiserver"),
		"--client-ca-file=" + p.cert(clusterCA),
		"--authorization-mode=RBAC",
		"--authentication-config=" + filepath.Join(o.Dir, "authentication.yaml"),

		"--etcd-servers=" + o.etcdURL(),
		"--etcd-cafile=" + p.cert(etcdCA),
		"--etcd-certfile=" + p.cert("apiserver-etcd-client"),
		"--etcd-keyfile=" + p.key("apiserver-etcd-client"),

		"--service-account-issuer=" + o.Issuer,
		"--service-account-jwks-uri=" + o.jwksURI(),
		"--service-account-signing-key-file=" + p.serviceAccountKey(),
		"--service-account-key-file=" + p.serviceAccountKey(),
		"--api-audiences=" + o.Issuer + "," + inClusterAudience,

		"--service-cluster-ip-range=" + serviceRange,
		"--allow-privileged=true", // as on AKS
		// Endpoints may not hold a loopback address, and no pod is there to use them.
		"--advertise-address=" + o.Bind,
		"--endpoint-reconciler-type=none",
		// Its taints are taken off by the node lifecycle controller, which we don't run.
		"--disable-admission-plugins=TaintNodesByCondition",

		// Memory and idle work: one user needs no fair queueing, nobody profiles.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=800",
		"--max-mutating-requests-inflight=400",
		"--profiling=false",
		"--shutdown-delay-duration=0s",
	}
}

// runAPIServer serves until ctx ends. It uses the pieces below NewAPIServerCommand, which would install process-wide
// signal handlers.
func runAPIServer(ctx context.Context, o *runOptions, p *pki) error {
	if err := writeFile(filepath.Join(o.Dir, "authentication.yaml"), []byte(authenticationConfig)); err != nil {
		return err
	}
	s := apiserveroptions.NewServerRunOptions()
	if err := parseFlags("kube-apiserver", s.Flags(), apiserverFlags(o, p)); err != nil {
		return err
	}
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	return apiserverapp.Run(ctx, completed)
}

// parseFlags sets a component's options from flags, as its command would, in a flag set of its own: the process-wide
// one can hold each name only once.
func parseFlags(component string, named cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet(component, pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range named.FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}
