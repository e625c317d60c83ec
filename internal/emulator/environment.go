package emulator

import "github.com/sluice-gitops/sluice/internal/emulator/store"

// Environment is what clients need to know of the emulated Azure. Only DeveloperSecret is secret.
type Environment struct {
	TenantID          string // GUID
	SubscriptionID    string // GUID
	DeveloperClientID string // GUID; the service principal that is Owner of the subscription
	DeveloperObjectID string // GUID; what access policies name
	DeveloperSecret   string
	IssuerURL         string // of the local cluster's tokens; the trailing slash is part of it
}

// Env returns the environment of this emulator. It stays the same for as long as the state folder lives.
func (e *Emulator) Env() Environment { return environmentOf(e.store.State()) }

// ReadEnvironment returns the environment kept under dir, whether or not an emulator runs on it. The error matches
// fs.ErrNotExist when there is none.
func ReadEnvironment(dir string) (Environment, error) {
	state, err := store.Read(dir)
	if err != nil {
		return Environment{}, err
	}
	return environmentOf(state), nil
}

func environmentOf(state *store.State) Environment {
	return Environment{
		TenantID: state.Tenant, SubscriptionID: state.Subscription,
		DeveloperClientID: state.Developer.ClientID, DeveloperObjectID: state.Developer.ObjectID,
		DeveloperSecret: state.Developer.Secret, IssuerURL: state.Issuer(),
	}
}
