package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/emulator"
	emulated "github.com/sluice-gitops/sluice/internal/emulator/arm"
)

// subscription is an emulated one.
type subscription struct {
	*emulator.Emulator
	t     testing.TB
	http  *http.Client
	cred  azcore.TokenCredential
	close func()
}

// openSubscription serves what is in dir, a new subscription if nothing is, until close or the test's end.
func openSubscription(t testing.TB, dir string, pace *emulated.Pace) *subscription {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e, err := emulator.Open(emulator.Options{Dir: dir, Pace: pace})
	check(err)
	pem, err := os.ReadFile(e.CAFile())
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: e.Addr()}), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	s := &subscription{Emulator: e, t: t, http: &http.Client{Transport: transport}}
	s.cred, err = identity.ForServicePrincipal(e.Env().TenantID, e.Env().DeveloperClientID, e.Env().DeveloperSecret, s.http)
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	closed := false
	s.close = func() {
		if closed {
			return
		}
		closed = true
		transport.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(s.close)
	return s
}

func (s *subscription) client() *arm.Client {
	s.t.Helper()
	c, err := arm.New(s.Env().SubscriptionID, s.cred, azcore.ClientOptions{Transport: s.http})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// ask sends one request to Resource Manager and returns the answer's body.
func (s *subscription) ask(method, path, version string, body any) (map[string]any, error) {
	token, err := s.cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, "https://management.azure.com"+path+"?api-version="+version, strings.NewReader(string(in)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: HTTP %d %s %w", method, path, res.StatusCode, out, err)
	}
	var answer map[string]any
	return answer, json.Unmarshal(out, &answer)
}

// parts are what a resource has below it.
var parts = map[string][]string{
	"Microsoft.ManagedIdentity/userAssignedIdentities": {"/federatedIdentityCredentials"},
	"Microsoft.KeyVault/vaults":                        {"/keys", "/providers/Microsoft.Authorization/roleAssignments"},
	"Microsoft.ContainerService/managedClusters":       nil,
}

// everything is all that Resource Manager says of the subscription, as it says it: registrations, groups, resources with
// their properties, what is below them, and deleted vaults. What Azure makes up (ids, versions, times) is replaced.
func (s *subscription) everything() (string, error) {
	const version = "2024-11-01"
	all := map[string]any{}
	var err error
	ask := func(path string) []any {
		answer, failed := s.ask(http.MethodGet, path, version, nil)
		if failed != nil {
			err = failed
		}
		all[path] = answer
		list, _ := answer["value"].([]any)
		return list
	}
	root := "/subscriptions/" + s.Env().SubscriptionID
	var made []string
	ask(root + "/providers")
	ask(root + "/resourcegroups")
	ask(root + "/providers/Microsoft.KeyVault/deletedVaults")
	for _, r := range ask(root + "/resources") {
		resource := r.(map[string]any)
		id, below := resource["id"].(string), parts[resource["type"].(string)]
		ask(id)
		if p, is := all[id].(map[string]any)["properties"].(map[string]any); is && p["principalId"] != nil {
			made = append(made, p["clientId"].(string), "CLIENT", p["principalId"].(string), "PRINCIPAL")
		}
		for _, part := range below {
			for _, item := range ask(id + part) {
				if part == "/keys" {
					ask(item.(map[string]any)["id"].(string))
				}
			}
		}
	}
	if err != nil {
		return "", err
	}
	for path := range all {
		sortAssignments(all[path], made)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return s.plain(string(text), made), err
}

// sortAssignments puts role assignments, whose names and so whose order follow from ids, into that of their principals.
func sortAssignments(list any, made []string) {
	values, _ := list.(map[string]any)["value"].([]any)
	who := func(v any) string {
		p, _ := v.(map[string]any)["properties"].(map[string]any)
		return strings.NewReplacer(made...).Replace(fmt.Sprint(p["principalId"]))
	}
	slices.SortStableFunc(values, func(a, b any) int { return strings.Compare(who(a), who(b)) })
}

var (
	moment  = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	seconds = regexp.MustCompile(`"(created|updated)": \d+`)
	keyHex  = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	guid    = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
)

func (s *subscription) plain(text string, made []string) string {
	env := s.Env()
	text = strings.NewReplacer(append(made, env.IssuerURL, "ISSUER", env.SubscriptionID, "SUBSCRIPTION", env.TenantID, "TENANT",
		env.DeveloperObjectID, "PERSON", arm.CryptoUser, "CRYPTO-USER")...).Replace(text)
	text = moment.ReplaceAllString(text, "TIME")
	text = seconds.ReplaceAllString(text, `"$1": 0`)
	text = keyHex.ReplaceAllString(text, "VERSION")
	return guid.ReplaceAllString(text, "GUID")
}
