package emulator_test

import (
	"bytes"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
)

var oaep256 = to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256)

// TestOnboardingThroughTheManagementSDKs makes everything with Microsoft's clients, then decrypts as the workload.
func TestOnboardingThroughTheManagementSDKs(t *testing.T) {
	a, ctx := start(t, emulator.Options{}), t.Context()
	a.mustARM("PUT", group, object{"location": "West Europe"}) // no resources module at hand
	env, options := a.Env(), &arm.ClientOptions{ClientOptions: a.sdk()}

	msi, err := armmsi.NewClientFactory(env.SubscriptionID, a.developer(), options)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := msi.NewUserAssignedIdentitiesClient().CreateOrUpdate(ctx, "rg", "flux", armmsi.Identity{Location: to.Ptr("westeurope")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := msi.NewFederatedIdentityCredentialsClient().CreateOrUpdate(ctx, "rg", "flux", "flux", armmsi.FederatedIdentityCredential{
		Properties: &armmsi.FederatedIdentityCredentialProperties{
			Issuer: to.Ptr(env.IssuerURL), Subject: to.Ptr(subject), Audiences: []*string{to.Ptr(audience)},
		}}, nil); err != nil {
		t.Fatal(err)
	}
	page, err := msi.NewUserAssignedIdentitiesClient().NewListBySubscriptionPager(nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].Properties.ClientID != *identity.Properties.ClientID {
		t.Fatalf("list of identities: %v, %v", page.Value, err)
	}

	kv, err := armkeyvault.NewClientFactory(env.SubscriptionID, a.developer(), options)
	if err != nil {
		t.Fatal(err)
	}
	poller, err := kv.NewVaultsClient().BeginCreateOrUpdate(ctx, "rg", "sample", armkeyvault.VaultCreateOrUpdateParameters{
		Location: to.Ptr("westeurope"),
		Properties: &armkeyvault.VaultProperties{
			TenantID: to.Ptr(env.TenantID), EnableRbacAuthorization: to.Ptr(false), AccessPolicies: []*armkeyvault.AccessPolicyEntry{},
			SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := poller.PollUntilDone(ctx, nil)
	if err != nil || *vault.Properties.VaultURI != "https://sample.vault.azure.net/" {
		t.Fatalf("vault: %+v, %v", vault.Properties, err)
	}
	if _, err := kv.NewVaultsClient().UpdateAccessPolicy(ctx, "rg", "sample", armkeyvault.AccessPolicyUpdateKindAdd,
		armkeyvault.VaultAccessPolicyParameters{Properties: &armkeyvault.VaultAccessPolicyProperties{
			AccessPolicies: []*armkeyvault.AccessPolicyEntry{{
				TenantID: to.Ptr(env.TenantID), ObjectID: identity.Properties.PrincipalID,
				Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{
					to.Ptr(armkeyvault.KeyPermissionsGet), to.Ptr(armkeyvault.KeyPermissionsDecrypt), to.Ptr(armkeyvault.KeyPermissionsEncrypt),
				}},
			}},
		}}, nil); err != nil {
		t.Fatal(err)
	}
	key := armkeyvault.KeyCreateParameters{Properties: &armkeyvault.KeyProperties{Kty: to.Ptr(armkeyvault.JSONWebKeyTypeRSA), KeySize: to.Ptr[int32](2048)}}
	first, err := kv.NewKeysClient().CreateIfNotExist(ctx, "rg", "sample", "sops", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := kv.NewKeysClient().CreateIfNotExist(ctx, "rg", "sample", "sops", key, nil)
	if err != nil || *again.Properties.KeyURIWithVersion != *first.Properties.KeyURIWithVersion {
		t.Errorf("a second PUT of the key made a new version: %v, %v", again.Properties, err)
	}

	roundTrip(t, a.keys("sample", a.workload(*identity.Properties.ClientID)))
}

func roundTrip(t *testing.T, client *azkeys.Client) {
	t.Helper()
	secret := []byte("0123456789abcdef0123456789abcdef")
	sealed, err := client.Encrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := client.Decrypt(t.Context(), "sops", sealed.KID.Version(), azkeys.KeyOperationParameters{Algorithm: oaep256, Value: sealed.Result}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened.Result, secret) {
		t.Errorf("decrypted %x, want %x", opened.Result, secret)
	}
}

func TestKeyLifecycleThroughTheSDK(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	ctx, client := t.Context(), a.keys("sample", a.developer())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	created, err := client.CreateKey(ctx, "life", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
	must(err)
	v1 := created.Key.KID.Version()
	wrapped, err := client.WrapKey(ctx, "life", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP), Value: []byte("k")}, nil)
	must(err)
	rotated, err := client.RotateKey(ctx, "life", nil)
	must(err)
	if rotated.Key.KID.Version() == v1 || len(rotated.Key.N) != len(created.Key.N) {
		t.Error("rotation made no new key of the same size")
	}
	if got, err := client.GetKey(ctx, "life", "", nil); err != nil || got.Key.KID.Version() != rotated.Key.KID.Version() {
		t.Errorf("the current version is %v (%v), want the rotated one", got.Key, err)
	}
	unwrapped, err := client.UnwrapKey(ctx, "life", v1, azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP), Value: wrapped.Result}, nil)
	must(err)
	if string(unwrapped.Result) != "k" {
		t.Errorf("the old version unwraps to %q", unwrapped.Result)
	}

	_, err = client.UpdateKey(ctx, "life", v1, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
	must(err)
	_, err = client.UnwrapKey(ctx, "life", v1, azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP), Value: wrapped.Result}, nil)
	wantStatus(t, err, http.StatusForbidden)
	versions := 0
	for pager := client.NewListKeyPropertiesVersionsPager("life", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		must(err)
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions, want 2", versions)
	}

	_, err = client.DeleteKey(ctx, "life", nil)
	must(err)
	_, err = client.GetKey(ctx, "life", "", nil)
	wantStatus(t, err, http.StatusNotFound)
	_, err = client.CreateKey(ctx, "life", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
	wantStatus(t, err, http.StatusConflict)
	_, err = client.RecoverDeletedKey(ctx, "life", nil)
	must(err)
	_, err = client.DeleteKey(ctx, "life", nil)
	must(err)
	_, err = client.PurgeDeletedKey(ctx, "life", nil)
	must(err)
	_, err = client.GetDeletedKey(ctx, "life", nil)
	wantStatus(t, err, http.StatusNotFound)
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.StatusCode != status {
		t.Errorf("got %v, want status %d", err, status)
	}
}

func TestImportedKeyDecryptsWhatItsOwnerEncrypted(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	client, own := a.keys("sample", a.developer()), clusterKey()
	e := []byte{byte(own.E >> 16), byte(own.E >> 8), byte(own.E)}
	imported, err := client.ImportKey(t.Context(), "mine", azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{
		Kty: to.Ptr(azkeys.KeyTypeRSA), N: own.N.Bytes(), E: e, D: own.D.Bytes(), P: own.Primes[0].Bytes(), Q: own.Primes[1].Bytes(),
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if imported.Key.D != nil || !bytes.Equal(imported.Key.N, own.N.Bytes()) {
		t.Error("the answer must hold the public half, and only that")
	}
}

func TestWorkloadNeedsOneExchangeAndOneChallengePerClient(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	sealed, err := a.keys("sample", a.developer()).Encrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: []byte("v")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, client := a.Requests(), a.keys("sample", a.workload(clientID))
	for range 3 {
		if _, err := client.Decrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: sealed.Result}, nil); err != nil {
			t.Fatal(err)
		}
	}
	after := a.Requests()
	for key, want := range map[string]int{"entra/token": 1, "keyvault/challenge": 1, "keyvault/decrypt": 3, "issuer/jwks": 0} {
		if got := after[key] - before[key]; got != want {
			t.Errorf("%s: %d requests, want %d", key, got, want)
		}
	}
}

func TestThrottledRequestsAreRetriedByTheSDK(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	var throttled atomic.Bool
	a.SetThrottle(func(vault, operation string) *keyvault.Throttle {
		if vault != "sample" || operation != "get-key" || throttled.Swap(true) {
			return nil
		}
		return &keyvault.Throttle{}
	})
	options := a.sdk()
	options.Retry = policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Millisecond}
	client, err := azkeys.NewClient("https://sample.vault.azure.net", a.developer(), &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	before := a.Requests()["keyvault/get-key"]
	if _, err := client.GetKey(t.Context(), "sops", "", nil); err != nil {
		t.Fatal(err)
	}
	if got := a.Requests()["keyvault/get-key"] - before; got != 2 {
		t.Errorf("%d requests, want the throttled one and its retry", got)
	}
	a.SetThrottle(func(string, string) *keyvault.Throttle {
		return &keyvault.Throttle{RetryAfter: 1500 * time.Millisecond}
	})
	r := a.do("GET", "https://sample.vault.azure.net/keys/sops?api-version=7.4", a.developerToken("https://vault.azure.net"), nil)
	if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "2" {
		t.Errorf("%d, Retry-After %q; want 429 and 2", r.status, r.header.Get("Retry-After"))
	}
}
