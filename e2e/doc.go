// Package e2e holds the end-to-end tests: testscript scripts in testdata/ that drive the real binaries the way a user
// does, against a real control plane, a real Git server and the Azure emulator. There is no code here but tests; the
// scripts are the specification of what `sluice up` promises.
//
// A script fails where a binary is missing: `make build` makes them.
package e2e
