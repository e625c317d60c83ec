package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

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
}

func ownWorkload() workload {
	c, err := identity.FromEnvironment()
	return workload{c, err}
}

// decrypter opens the documents of one Kustomization as one identity.
type decrypter struct {
	identity keyring.Identity
	ring     *keyring.Ring
	own      workload
	mac      sops.MACPolicy
	warn     func(error)
}

// decrypter returns who decrypts for obj, nil when spec.decryption is not set.
func (k *Kustomizations) decrypter(ctx context.Context, obj *Kustomization) (*decrypter, error) {
	spec := obj.Spec.Decryption
	if spec == nil {
		return nil, nil
	}
	d := &decrypter{
		identity: keyring.Identity{Name: controllerIdentity}, ring: k.Ring, own: k.workload, mac: k.Options.MACPolicy,
		warn: func(err error) {
			k.Log.Warn("MAC", "kustomization", obj.Namespace+"/"+obj.Name, "warning", err)
			k.Events.warning(obj, obj.Status.LastAttemptedRevision, "MACMismatch", err.Error())
		},
	}
	if spec.SecretRef != nil {
		data, err := secretData(ctx, k.Reader, obj.Namespace, spec.SecretRef.Name)
		if err != nil {
			if f := fault.From(err); f != nil {
				f.Hop, f.Object = fault.HopKeyring, "Kustomization/"+obj.Namespace+"/"+obj.Name
			}
			return nil, err
		}
		// Whoever holds other key material is another identity: nothing that one of them unwrapped is the other's.
		name := "secret/" + obj.Namespace + "/" + spec.SecretRef.Name + "@" + fingerprint(data)
		if d.identity, err = keyring.FromSecret(name, data); err != nil {
			return nil, err
		}
	}
	// As in Flux, the controller's identity serves where the Secret brings none for Azure.
	switch {
	case d.identity.Azure != nil:
	case d.own.err != nil:
		d.identity.AzureErr = d.own.err
	default:
		d.identity.Azure = d.own.credential
	}
	return d, nil
}

// open is a render.Opener.
func (d *decrypter) open(ctx context.Context, path string, data []byte) ([]byte, error) {
	plain, err := sops.Open(ctx, d.ring.For(d.identity), path, data, sops.FormatFor(path), d.mac)
	var mismatch *sops.MACWarning
	if errors.As(err, &mismatch) {
		d.warn(mismatch)
		err = nil
	}
	return plain, err
}

// forget drops the cached tokens and data keys, so that the next document proves the whole chain.
func (d *decrypter) forget() {
	if d.own.err == nil {
		d.own.credential.Renew()
	}
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

func fingerprint(data map[string][]byte) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(data)) {
		h.Write([]byte(k))
		h.Write([]byte{0})
		h.Write(data[k])
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
