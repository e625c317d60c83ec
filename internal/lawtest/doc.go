// Package lawtest holds the rules of this repository as tests: which package may import which, and how files, packages
// and dependencies are kept. docs/architecture.md says what the rules are for.
//
// It has no code of its own, reads only the checkout it stands in, and refuses exceptions that carry no reason. A rule
// that has to change is changed here, with its reason.
package lawtest
