package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Variable is one exported variable. Value may refer to the shell's PATH in front of which it stands.
type Variable struct {
	Name, Value string
	Prepend     bool // Value goes before the variable's present value, with a colon
}

// Environment gives what `sluice env` exports for d's platform. The platform need not run: ports and credentials
// outlive `down`.
func Environment(d state.Dir) ([]Variable, error) {
	if err := state.Check(d); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, noPlatform(d)
		}
		return nil, err
	}
	rec, err := state.Load(d)
	if err != nil {
		return nil, err
	}
	v, err := emulator.ReadEnvironment(d.Emulator())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, noPlatform(d)
		}
		return nil, err
	}
	proxy := "http://" + state.Loopback(rec.Ports.Proxy)
	vars := []Variable{
		{Name: marker, Value: string(d)},
		{Name: "KUBECONFIG", Value: d.Kubeconfig()},
		{Name: "HTTPS_PROXY", Value: proxy},
		{Name: "https_proxy", Value: proxy},
		{Name: "NO_PROXY", Value: noProxy},
		{Name: "no_proxy", Value: noProxy},
		{Name: "SSL_CERT_FILE", Value: d.CABundle()},
		{Name: "REQUESTS_CA_BUNDLE", Value: d.CABundle()},
		{Name: "AZURE_TENANT_ID", Value: v.TenantID},
		{Name: "AZURE_CLIENT_ID", Value: v.DeveloperClientID},
		{Name: "AZURE_CLIENT_SECRET", Value: v.DeveloperSecret},
		{Name: "AZURE_SUBSCRIPTION_ID", Value: v.SubscriptionID},
	}
	if _, err := exec.LookPath("kubectl"); err != nil {
		vars = append(vars, Variable{Name: "PATH", Value: d.Bin(), Prepend: true})
	}
	return vars, nil
}

// noProxy are the destinations that never go through the emulator.
const noProxy = "127.0.0.1,localhost,::1,.svc,.cluster.local"

// Export writes v as a line for a POSIX shell's eval.
func (v Variable) Export() string {
	if v.Prepend {
		return fmt.Sprintf(`export %s="%s:$%s"`, v.Name, inDoubleQuotes(v.Value), v.Name)
	}
	return fmt.Sprintf("export %s=%s", v.Name, shellWord(v.Value))
}

// shellWord quotes s so that a POSIX shell reads exactly s.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func inDoubleQuotes(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s)
}

func noPlatform(d state.Dir) error {
	return &fault.Fault{Code: "SLU-PLATFORM-007", Hop: fault.HopPlatform, Object: string(d), Seen: "there is no platform here", Fix: "sluice up, with the same --state-dir if you chose one", Exit: fault.ExitNo}
}

// exported are the variables of Environment that would change what a platform's own processes do.
var exported = []string{
	"KUBECONFIG", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", marker,
}

// marker tells a later `up` that the shell evaluated `sluice env`, and of which platform.
const marker = "SLUICE_ENV"

// forgetExported takes out of this process's environment what an evaluated `sluice env` put there: a platform must not
// reach the Internet through itself or trust itself, and nothing of it may act as the developer.
func forgetExported() {
	_, evaluated := os.LookupEnv(marker)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name == "KUBECONFIG" || name == "SLUICE_STATE_DIR" || strings.HasPrefix(name, "AZURE_") || (evaluated && slices.Contains(exported, name)) {
			os.Unsetenv(name)
		}
	}
}
