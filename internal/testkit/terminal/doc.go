// Package terminal gives tests a pseudo-terminal: what a command asks at a terminal can be read, and answered, as by a
// person. It exists on Linux only, as the tests that need it do.
//
// It interprets nothing of what is printed. Only tests import it.
package terminal
