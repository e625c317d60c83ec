// Package parity holds Sluice against Flux: each fixture of testdata is driven through Flux's source- and
// kustomize-controller and through `sluice controller` in lockstep, each in an API server of its own, and what both
// leave behind is compared: objects with their managed fields, status, conditions, inventory, history's shape,
// artifacts, events.
//
// A fixture is a txtar file: its comment is a script, its files are Git trees and manifests (see script_test.go). What
// may differ stands in differences_test.go with the reason, and docs/compat.md tells it to users. An entry that no
// fixture needs fails the test, so that the list stays true.
package parity
