// Package local is the whole system on one machine: what `sluice up`, `down` and `env` do.
//
// One supervisor process holds the Azure emulator and the Git server, and keeps two children: the control plane
// (sluice-cluster) and the controller, which package node runs as AKS would. The supervisor's steps are
//
//	preflight    nothing is started before everything that can be checked has been
//	azure        the emulator; then, through its REST APIs, what iac/*.bicep makes on Azure
//	cluster      sluice-cluster, whose token issuer the emulator publishes
//	repository   the bare repository: the sample, sealed for the vault, or the user's committed HEAD; bootstrap's commit
//	             on top of it, pushed to the Git server by package onboard
//	install      <path>/flux-system, applied by package onboard
//	controller   the node starts the Deployment
//	sync         every Kustomization Ready at the head revision (done by the waiting `up` itself)
//
// with azure and cluster, and then repository and cluster, side by side. All that differs from Azure is here and in
// the emulator: endpoints and trust roots. The package writes no clear text of a secret into the state folder, and
// listens on 127.0.0.1 alone.
package local
