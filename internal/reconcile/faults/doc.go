// Package faults holds the proof that faults cost time and nothing else: the controllers run as a process of their own
// against a real API server and a real Git remote, with a proxy before each that kills, cuts, refuses, delays and lies,
// and after every fault the same invariants are checked (invariants_test.go). docs/faults.md says which test stands for
// which fault. There is no code here but tests.
//
// A process is killed at requests and nowhere else. Between two requests it changes memory alone, which a kill takes
// along whatever it holds, so the moments between them cannot be told apart from outside.
package faults
