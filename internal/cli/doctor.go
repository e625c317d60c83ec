package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/doctor"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
)

// examiner holds the flags of doctor.
type examiner struct {
	streams             Streams
	kube                kubeFlags
	name, controller    string
	output              string
	fix, noNetwork      bool
	patience, patchwait time.Duration
}

const doctorHelp = `Doctor looks at every hop between a Kustomization's encrypted files and the key that opens them, in the order in which
the data goes, and names the first that is broken: what was seen, what was expected, the cause, and the command that
mends it. What comes after the broken hop is not judged. A hop that cannot be looked at says what would be needed.

From a workstation it needs a kubeconfig and, to look at Azure's own side, the role Reader and a sign-in (az login, or the
environment that sluice env prints). It reads the Kustomization, its source and the source's Secret, the controller's
Deployment, pods and ServiceAccount, and asks for one short-lived token of that account, which it exchanges as the
controller would. Inside of the cluster it uses the pod's own identity.

--fix mends what is safe to mend, after showing it: labels and annotations in the cluster, and federated credentials.
Access, keys, vaults and files are left to you: the command is printed.

It exits with the code of the broken hop: 5 Git, 1 the path, 6 files, vault and key, 4 identity and sign-in, 3 the
cluster; 0 if none is broken.`

func newDoctor(s Streams) *cobra.Command {
	e := &examiner{streams: s, patience: 90 * time.Second, patchwait: 2 * time.Second}
	cmd := &cobra.Command{Use: "doctor [ks NAME]", Short: "Find the broken hop between the encrypted files and their key", Long: doctorHelp,
		Example: "  sluice doctor\n  sluice doctor ks apps --fix"}
	cmd.Args = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
		case len(args) == 2 && (args[0] == "ks" || args[0] == "kustomization") && e.name == "":
			e.name = args[1]
		default:
			return usage(c, fmt.Errorf("doctor takes nothing, or: ks NAME"))
		}
		return nil
	}
	e.kube.add(cmd, s.Env)
	f := cmd.Flags()
	f.StringVar(&e.name, "kustomization", "", "the Kustomization to look at (default: all that decrypt)")
	f.StringVar(&e.controller, "controller-namespace", "", "namespace of the Deployment kustomize-controller (default: flux-system, or FLUX_SYSTEM_NAMESPACE)")
	f.StringVarP(&e.output, "output", "o", "text", "text or json")
	f.BoolVar(&e.fix, "fix", false, "mend what is safe to mend, after showing it")
	f.BoolVar(&e.noNetwork, "no-network", false, "look at the cluster alone, not at the Git remote and Azure")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if e.output != "text" && e.output != "json" {
			return usage(c, fmt.Errorf("-o %s: want text or json", e.output))
		}
		ctx, cancel := e.kube.deadline(c)
		defer cancel()
		return e.run(ctx)
	}
	return cmd
}

func (e *examiner) run(ctx context.Context) error {
	o, err := e.options()
	if err != nil {
		return err
	}
	names, err := e.kustomizations(ctx, o.Client)
	if err != nil {
		return err
	}
	var reports []*doctor.Report
	var first *fault.Fault
	for _, name := range names {
		o.Kustomization = name
		r, err := e.examine(ctx, o)
		if err != nil {
			return explainKube(err)
		}
		reports = append(reports, r)
		if h := r.Broken(); h != nil && first == nil {
			first = &fault.Fault{Code: h.Fault.Code, Hop: h.Fault.Hop, Object: "Kustomization/" + r.Kustomization,
				Seen: "the hop \"" + h.Name + "\" is broken", Exit: fault.ExitCode(h.Fault)}
		}
	}
	if e.output == "json" {
		if err := printReportsJSON(e.streams.Out, reports); err != nil {
			return err
		}
	}
	if first == nil {
		return nil
	}
	return first
}

// options gives the doctor its eyes: the cluster, and Azure as the person at the keyboard or, in a pod, as the pod.
func (e *examiner) options() (doctor.Options, error) {
	cfg, err := e.kube.config()
	if err != nil {
		return doctor.Options{}, err
	}
	c, err := client.New(cfg, client.Options{Scheme: doctor.Scheme()})
	if err != nil {
		return doctor.Options{}, explainKube(err)
	}
	env := e.streams.Env
	namespace := e.controller
	if namespace == "" {
		if namespace = env("FLUX_SYSTEM_NAMESPACE"); namespace == "" {
			namespace = "flux-system"
		}
	}
	o := doctor.Options{
		Client: c, Controller: types.NamespacedName{Namespace: namespace, Name: "kustomize-controller"},
		Subscription: env("AZURE_SUBSCRIPTION_ID"), AuthorityHost: env("AZURE_AUTHORITY_HOST"), NoNetwork: e.noNetwork,
		ArtifactHost: env("SOURCE_CONTROLLER_LOCALHOST"),
	}
	if file := env("AZURE_FEDERATED_TOKEN_FILE"); file != "" {
		o.Pod = &doctor.PodEnvironment{ClientID: env("AZURE_CLIENT_ID"), TenantID: env("AZURE_TENANT_ID"), TokenFile: file}
	}
	person, err := keyring.Workstation(context.Background(), keyring.WorkstationOptions{Env: env, Stderr: io.Discard})
	if err == nil { // without a home directory there is no sign-in to find, and Azure's own side is not looked at
		o.Azure = person.Azure
	}
	return o, nil
}

// kustomizations are the one that was named, else those of the namespace that decrypt, else all of it.
func (e *examiner) kustomizations(ctx context.Context, c client.Reader) (names []types.NamespacedName, err error) {
	if e.name != "" {
		return []types.NamespacedName{{Namespace: e.kube.namespace, Name: e.name}}, nil
	}
	found, err := kustomizations.fetch(ctx, c, e.kube.namespace, "")
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &fault.Fault{Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Exit: fault.ExitNo,
			Seen: "there is no Kustomization in namespace " + e.kube.namespace, Fix: "sluice doctor -n <namespace>"}
	}
	var all []types.NamespacedName
	for _, o := range found {
		name := client.ObjectKeyFromObject(o)
		all = append(all, name)
		if o.(*kustomizev1.Kustomization).Spec.Decryption != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return names, nil
}

// examine looks, and with --fix mends and looks again, until nothing is broken that is safe to mend.
func (e *examiner) examine(ctx context.Context, o doctor.Options) (*doctor.Report, error) {
	if !e.fix {
		r, err := doctor.Examine(ctx, o)
		if err == nil {
			e.print(r)
		}
		return r, err
	}
	var until time.Time
	return doctor.Mend(ctx, o, doctor.Treatment{
		Show: e.print,
		Left: func(*doctor.Report, *doctor.Hop) {
			fmt.Fprintln(e.streams.Err, "--fix does not mend this: run the command yourself when you have read it")
		},
		Tell: func(r *doctor.Report, h *doctor.Hop) {
			fmt.Fprintf(e.streams.Err, "mending %s of %s: %s\n", h.Name, r.Kustomization, h.Remedy.Commands[0])
			until = time.Now().Add(e.patience)
		},
		Wait: func(ctx context.Context) error {
			if time.Now().After(until) {
				return errPatience
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(e.patchwait):
				return nil
			}
		},
	})
}

var errPatience = errors.New("it takes too long to show")

// print writes a report as text; as JSON all are written at the end.
func (e *examiner) print(r *doctor.Report) {
	if e.output == "text" {
		printReport(e.streams.Out, style(e.streams), r)
	}
}
