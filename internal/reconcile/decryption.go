package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// controllerIdentity is the cache partition of the controller's own Azure identity.
const controllerIdentity = "controller"

// workload is the controller's own Azure identity, or why it has none. Only those who need Azure hear of that.
type workload struct {
	credential *identity.Workload
	err        error
	clouds     keyring.Clouds // the other clouds'
}

func ownWorkload() workload {
	c, err := identity.FromEnvironment()
	if err == nil {
		tokens.follow(c)
	}
	return workload{c, err, keyring.EnvironmentClouds()}
}

// decrypter opens the documents of one Kustomization as one identity.
type decrypter struct {
	identity keyring.Identity
	ring     *keyring.Ring
	azure    *identity.Workload // nil: none, or the Secret's own credential
	mac      sops.MACPolicy
	warn     func(error)
	cloud    atomic.Bool // a document named a cloud's key
	keys     string      // fingerprint of the Secret that secretRef names
	behalf   involved    // whom the metrics of the tokens name
}

// decrypter returns who decrypts for obj, nil when spec.decryption is not set. Unless fresh, a moment-old read of its Secret
// will do.
func (k *Kustomizations) decrypter(ctx context.Context, obj *Kustomization, fresh bool) (*decrypter, error) {
	spec := obj.Spec.Decryption
	if spec == nil {
		return nil, nil
	}
	d := &decrypter{
		behalf:   involved{kustomizev1.KustomizationKind, obj.Namespace, obj.Name, kustomizev1.MetricDecryptWithAzure},
		identity: keyring.Identity{Name: controllerIdentity}, ring: k.Ring, mac: k.Options.MACPolicy,
		warn: func(err error) {
			k.Log.Warn("MAC", "kustomization", obj.Namespace+"/"+obj.Name, "warning", err)
			k.Events.warning(obj, obj.Status.LastAttemptedRevision, "MACMismatch", err.Error())
		},
	}
	if secret, ok := k.keysSecret(obj); ok {
		data, fingerprint, err := k.keys.read(ctx, secret, fresh)
		if err != nil {
			if f := fault.From(err); f != nil {
				f.Hop, f.Object = fault.HopKeyring, "Kustomization/"+obj.Namespace+"/"+obj.Name
			}
			return nil, err
		}
		// Whoever holds other key material is another identity: nothing that one of them unwrapped is the other's.
		d.keys = fingerprint
		if spec.SecretRef == nil {
			// Everybody's keys are age keys alone: a cloud's credential in their place would be everybody's identity.
			data = maps.Clone(data) // others read it too
			maps.DeleteFunc(data, func(name string, _ []byte) bool { return !strings.HasSuffix(name, ".agekey") })
		}
		if d.identity, err = keyring.FromSecret("secret/"+secret.String()+"@"+d.keys, data); err != nil {
			return nil, err
		}
	}
	k.signIn(ctx, d, obj)
	return d, nil
}

// keysSecret is the Secret with the keys for obj: the one that it names, else that of --sops-age-secret, if any.
func (k *Kustomizations) keysSecret(obj *Kustomization) (types.NamespacedName, bool) {
	d := obj.Spec.Decryption
	switch {
	case d == nil:
	case d.SecretRef != nil:
		return types.NamespacedName{Namespace: obj.Namespace, Name: d.SecretRef.Name}, true
	case k.Options.SOPSAgeSecret != "" && k.Options.Namespace != "":
		return types.NamespacedName{Namespace: k.Options.Namespace, Name: k.Options.SOPSAgeSecret}, true
	}
	return types.NamespacedName{}, false
}

// signIn gives d the identities that serve where the Secret brings none, as in Flux: a ServiceAccount's if one is named,
// else the controller's. Only documents that need a cloud fail for want of its identity.
func (k *Kustomizations) signIn(ctx context.Context, d *decrypter, obj *Kustomization) {
	w, err, clouds := k.workload.credential, k.workload.err, k.workload.clouds
	if account := k.decryptionAccount(obj); account != "" {
		var name string
		name, w, clouds, err = k.accountIdentity(ctx, types.NamespacedName{Namespace: obj.Namespace, Name: account})
		if d.identity.Name == controllerIdentity {
			d.identity.Name = name
		} else {
			d.identity.Name += "+" + name
		}
	}
	d.identity.FillFrom(clouds)
	switch {
	case d.identity.Azure != nil: // the Secret's own
	case err != nil:
		d.identity.AzureErr = err
	default:
		d.identity.Azure, d.azure = w, w
	}
}

// accountIdentity returns the partition of a ServiceAccount and what it is in each cloud.
func (k *Kustomizations) accountIdentity(ctx context.Context, key types.NamespacedName) (name string, w *identity.Workload, clouds keyring.Clouds, err error) {
	sa, err := readAccount(ctx, k.Reader, key, "spec.decryption.serviceAccountName")
	if err != nil {
		return "serviceaccount/" + key.String(), nil, keyring.Clouds{AWSErr: err, GoogleErr: err, VaultErr: err}, err
	}
	name, w, err = k.identities.azure(k.Client, sa)
	name += cloudName(sa)
	clouds = k.identities.clouds.of(name, sa, func(ctx context.Context, audience string) (string, error) {
		token, _, err := requestToken(ctx, k.Client, key, []string{audience})
		return token, err
	})
	return name, w, clouds, err
}

// open is a render.Opener.
func (d *decrypter) open(ctx context.Context, path string, data []byte) ([]byte, error) {
	plain, err := sops.Open(ctx, d, path, data, sops.FormatFor(path), d.mac)
	var mismatch *sops.MACWarning
	if errors.As(err, &mismatch) {
		d.warn(mismatch)
		err = nil
	}
	return plain, err
}

// DataKey implements sops.Keyring with the identity's own keyring, and notes whether the document's key is a cloud's:
// the kind that can be taken away from outside.
func (d *decrypter) DataKey(ctx context.Context, doc *sops.Metadata) ([]byte, error) {
	for _, group := range doc.KeyGroups {
		for _, key := range group {
			if kind := key.Kind(); kind != "age" && kind != "pgp" {
				d.cloud.Store(true)
			}
		}
	}
	return d.ring.For(d.identity).DataKey(onBehalfOf(ctx, d.behalf), doc)
}

// fingerprint is that of the Secret that the keys came from, empty if there is none.
func (d *decrypter) fingerprint() string {
	if d == nil {
		return ""
	}
	return d.keys
}

// askedCloud says whether any document so far named a cloud's key; not without decryption.
func (d *decrypter) askedCloud() bool { return d != nil && d.cloud.Load() }

// forget drops the cached tokens and data keys, so that the next document proves the whole chain.
func (d *decrypter) forget() {
	if d.azure != nil {
		d.azure.Renew()
	}
	d.identity.Clouds.Renew()
	d.ring.Forget(d.identity.Name)
}

// opener returns the render.Opener of d, nil for no decryption.
func (d *decrypter) opener() render.Opener {
	if d == nil {
		return nil
	}
	return d.open
}

// refused says whether an identity has lost its access. What it unwrapped before must then not be used any longer.
func refused(err error) bool {
	f := fault.From(err)
	return f != nil && (f.Hop == fault.HopIdentity || f.Hop == fault.HopEntra || f.Hop == fault.HopVault || f.Hop == fault.HopKey)
}

func fingerprintOf(data map[string][]byte) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(data)) {
		h.Write([]byte(k))
		h.Write([]byte{0})
		h.Write(data[k])
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
