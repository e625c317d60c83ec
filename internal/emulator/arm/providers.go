package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// providers are the namespaces in use, with the resource types that `az` looks for by API version.
var providers = map[string][]string{
	"Microsoft.Authorization":    {"roleAssignments"},
	"Microsoft.ContainerService": {"managedClusters"},
	"Microsoft.KeyVault":         {"vaults"},
	"Microsoft.ManagedIdentity":  {"userAssignedIdentities"},
	"Microsoft.Resources":        {"resourceGroups"},
}

// registration is a namespace's state. One that nobody changed is registered.
func registration(state *store.State, namespace string) string {
	switch p := state.Providers[store.Fold(namespace)]; {
	case p == nil:
		return "Registered"
	case !p.Registered:
		return "NotRegistered"
	case time.Now().Before(p.Since):
		return "Registering"
	}
	return "Registered"
}

func provider(state *store.State, namespace string) any {
	types := []any{}
	for name, resourceTypes := range providers {
		if !strings.EqualFold(name, namespace) {
			continue
		}
		namespace = name
		for _, resourceType := range resourceTypes {
			types = append(types, map[string]any{"resourceType": resourceType, "locations": []string{state.Region}, "apiVersions": []string{"2024-11-30", "2024-11-01"}})
		}
	}
	return map[string]any{
		"id": "/subscriptions/" + state.Subscription + "/providers/" + namespace, "namespace": namespace,
		"registrationState": registration(state, namespace), "registrationPolicy": "RegistrationRequired", "resourceTypes": types,
	}
}

func (s *Service) listProviders(r *request) (answer, error) {
	var items []any
	for _, namespace := range slices.Sorted(maps.Keys(providers)) {
		items = append(items, provider(r.state, namespace))
	}
	return okList(items)
}

func (s *Service) getProvider(r *request) (answer, error) {
	return ok(provider(r.state, r.vars["namespace"]))
}

// registerProvider begins a registration, which nobody is told the end of: clients ask until it is there.
func (s *Service) registerProvider(r *request) (answer, error) {
	return s.changeProvider(r, func(state *store.State, key string) {
		if state.Providers[key] != nil && !state.Providers[key].Registered {
			state.Providers[key] = &store.Provider{Registered: true, Since: time.Now().Add(s.pace.Register)}
		}
	})
}

func (s *Service) unregisterProvider(r *request) (answer, error) {
	return s.changeProvider(r, func(state *store.State, key string) { state.Providers[key] = &store.Provider{} })
}

func (s *Service) changeProvider(r *request, change func(state *store.State, key string)) (answer, error) {
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		change(state, store.Fold(r.vars["namespace"]))
		out.body = provider(state, r.vars["namespace"])
		return nil
	})
	return out, err
}

// registered refuses to make resources of a provider that the subscription has not registered.
func registered(state *store.State, method, path string) error {
	if method != http.MethodPut {
		return nil
	}
	_, rest, found := strings.Cut(store.Fold(path), "/providers/")
	namespace, _, _ := strings.Cut(rest, "/")
	if !found || registration(state, namespace) == "Registered" {
		return nil
	}
	for name := range providers {
		if strings.EqualFold(name, namespace) {
			namespace = name
		}
	}
	return fail(http.StatusConflict, "MissingSubscriptionRegistration",
		"The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions.", namespace)
}
