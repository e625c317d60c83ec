package main

import (
	"context"
	"reflect"
	_ "unsafe" // for go:linkname

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// Vault 1.14.1 is built with the sdk in its own repository, of which no version was published. The published one that its
// transit engine compiles with, 0.9.2, insists on an existence check for each path that can create; some paths of 1.14.1
// have none, and a backend that holds such a path panics at its first request. So they are given one that has the effect of
// none in the sdk of that time: a write stays an update. Nothing else of the server is changed.

func present(context.Context, *logical.Request, *framework.FieldData) (bool, error) { return true, nil }

func complete(paths []*framework.Path) []*framework.Path {
	for _, p := range paths {
		if p.ExistenceCheck == nil {
			p.ExistenceCheck = present
		}
	}
	return paths
}

// enterprisePaths are the system backend's stubs that answer "enterprise only".
//
//go:linkname enterprisePaths github.com/hashicorp/vault/vault.entPaths
var enterprisePaths func(*vault.SystemBackend) []*framework.Path

func completeSystem() {
	stubs := enterprisePaths
	enterprisePaths = func(b *vault.SystemBackend) []*framework.Path { return complete(stubs(b)) }
}

// completed is an engine with its paths completed.
func completed(factory logical.Factory) logical.Factory {
	return func(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
		b, err := factory(ctx, config)
		if err != nil {
			return nil, err
		}
		complete(reflect.ValueOf(b).Elem().FieldByName("Backend").Interface().(*framework.Backend).Paths)
		return b, nil
	}
}
