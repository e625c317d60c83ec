package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
)

func newAzure(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "azure", Short: "Make, show and delete what Sluice needs on Azure", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, errors.New("azure what: provision, show or destroy"))
		}}
	cmd.AddCommand(newAzureProvision(s), newAzureShow(s), newAzureDestroy(s))
	return cmd
}

// azureFlags are what the azure commands share.
type azureFlags struct {
	streams             Streams
	group, subscription string
	output              string
	progress            string
	quiet, yes          bool
}

func (f *azureFlags) add(c *cobra.Command, changes bool) {
	fl := c.Flags()
	fl.StringVarP(&f.group, "resource-group", "g", "", "the resource group (required)")
	fl.StringVar(&f.subscription, "subscription", "", "id of the subscription (default $AZURE_SUBSCRIPTION_ID, or the only one there is)")
	fl.StringVarP(&f.output, "output", "o", "text", "text or json")
	if changes {
		fl.BoolVarP(&f.yes, "yes", "y", false, "don't ask")
		fl.StringVar(&f.progress, "progress", "auto", "auto, plain, json or none")
		fl.BoolVarP(&f.quiet, "quiet", "q", false, "show only warnings and failures on stderr")
	}
}

// client signs in as the person at the keyboard and settles the subscription.
func (f *azureFlags) client(c *cobra.Command) (*arm.Client, error) {
	switch {
	case f.group == "":
		return nil, usage(c, errors.New("--resource-group is required"))
	case f.output != "text" && f.output != "json":
		return nil, usage(c, fmt.Errorf("-o %s: text or json", f.output))
	}
	_, person, err := f.streams.person("")
	if err != nil {
		return nil, err
	}
	id := orElse(f.subscription, f.streams.Env("AZURE_SUBSCRIPTION_ID"))
	if id == "" {
		if id, err = onlySubscription(c.Context(), person.Azure, f.streams.azureCloud()); err != nil {
			return nil, err
		}
	}
	return arm.New(id, person.Azure, f.streams.azureCloud())
}

// azureCloud is the cloud that the person at the keyboard signs in to, as the SDK's credentials read it; an Entra ID of
// none that is known goes with the public cloud's Resource Manager.
func (s Streams) azureCloud() (o azcore.ClientOptions) {
	if c, ok := cloud.OfAuthority(s.Env("AZURE_AUTHORITY_HOST")); ok {
		o.Cloud = c.SDK()
	}
	return o
}

func onlySubscription(ctx context.Context, cred azcore.TokenCredential, o azcore.ClientOptions) (string, error) {
	all, err := arm.Accounts(ctx, cred, o)
	if err != nil {
		return "", err
	}
	if len(all) == 1 {
		return all[0].ID, nil
	}
	f := &fault.Fault{Code: "SLU-USAGE-041", Hop: fault.HopUsage, Seen: "you see no subscription", Why: "you have no role in any", Fix: "az login --tenant TENANT; az account list -o table"}
	if len(all) > 1 {
		var ids []string
		for _, a := range all {
			ids = append(ids, a.ID+" ("+a.Name+")")
		}
		f.Seen, f.Why = fmt.Sprintf("you see %d subscriptions", len(all)), strings.Join(ids, ", ")
		f.Fix = "repeat the command with --subscription ID"
	}
	return "", f
}

func (f *azureFlags) renderer(c *cobra.Command) (event.Renderer, error) {
	r, err := event.NewRenderer(f.progress, f.streams.Err, f.quiet, f.streams.Env)
	if err != nil {
		return nil, usage(c, err)
	}
	return r, nil
}

// json prints v as the whole result.
func (f *azureFlags) json(v any) error {
	e := json.NewEncoder(f.streams.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// confirm puts a question and returns nil if the answer is wanted, in words; "" means yes. what says what would happen.
func (f *azureFlags) confirm(what, question, wanted string) error {
	if f.yes {
		return nil
	}
	if !isTerminal(f.streams.In) || !isTerminal(f.streams.Err) {
		return &fault.Fault{Code: "SLU-USAGE-042", Hop: fault.HopUsage, Seen: what + ", and nobody can be asked", Why: "stdin and stderr are not terminals", Fix: "repeat the command with --yes"}
	}
	fmt.Fprint(f.streams.Err, question)
	return answered(f.streams.In, wanted)
}

func answered(in io.Reader, wanted string) error {
	line, _ := bufio.NewReader(in).ReadString('\n')
	answer := strings.TrimSpace(line)
	if wanted == "" && (strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes")) || wanted != "" && answer == wanted {
		return nil
	}
	return &fault.Fault{Code: "SLU-USAGE-043", Hop: fault.HopUsage, Seen: "nothing was changed", Why: "the answer was no", Exit: fault.ExitNo}
}

// facts prints labelled lines, aligned.
func facts(w io.Writer, lines [][2]string) {
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range lines {
		fmt.Fprintf(w, "%-*s  %s\n", width, l[0], l[1])
	}
}
