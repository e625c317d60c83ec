// Package reconcile holds the controllers: it is the only package that joins the stages
//
//	source → render → plan → apply → health → status
//
// and it contains none of their work. GitRepositories (gitrepository.go) turns remotes into revisions and publishes
// them in process through Revisions, unless Flux's source-controller does (git_mode.go); the artifacts of other controllers
// are read by externalSources (sources_external.go). Kustomizations (kustomization.go) takes a revision through the pipeline
// (pipeline.go) and tells in the object's status what happened.
//
// Nothing that waits holds a worker: a Kustomization whose objects are not healthy yet, whose dependency is not ready
// or whose last attempt failed is put back in the queue with a time.
//
// What is in memory here is never authoritative. A restarted process rebuilds it from Git and the API server; the
// inventory, written before anything is created, is what makes that safe.
//
// The package refuses fields that it does not implement (unsupported.go) instead of ignoring them, because several of
// them limit what a Kustomization may do.
package reconcile
