// Package release makes what is published out of a checkout: an OCI image and archives of the binaries for every
// system, bit for bit the same wherever and whenever the same source meets the same Go toolchain.
//
// To keep that promise every timestamp is the commit's, every order is sorted, every owner is fixed, and nothing of the
// machine gets in: the root certificates come from a pinned module, the binaries are built without paths, VCS state,
// cgo and the environment's GOFLAGS. The package needs no Docker and no network beyond Go's module cache. It refuses
// to push, tag or sign: that is done with what it leaves in the output folder. Command dist under it is what
// `make image` and `make release` run; nothing of the product imports it.
package release
