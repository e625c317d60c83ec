// Package lab runs what a comparison needs: an API server out of the control plane's binary, a Git host, and an engine
// (Flux's two controllers, or ours) as processes. Everything listens on loopback and ends with the process that
// started it. It measures nothing and compares nothing: package main measures, package parity compares.
package lab
