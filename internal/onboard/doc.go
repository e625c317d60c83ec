// Package onboard brings Sluice and a cluster together: it installs the components, makes the cluster follow a
// repository and waits until it does (Bootstrap), looks whether a cluster can and does run Sluice (Check), and takes
// Sluice out again (Uninstall).
//
// What bootstrap applies is the repository's own flux-system folder, built with the user's patches, and it is applied
// before anything is synced: a patch that enables decryption is in force before the first encrypted file is met.
//
// It joins package bootstrap, which writes the manifests, with gitpush, which brings them into the repository. It never
// deletes what the controllers applied, replaces Flux's controllers only when it is told to, keeps source-controller where
// something needs it (takeover.go), and believes nothing but what the cluster reports at the pushed revision.
package onboard
