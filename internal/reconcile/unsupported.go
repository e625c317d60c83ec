package reconcile

import (
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// unsupported says which field of the object is one that this release does not implement. Ignoring it could apply
// something that its author meant to prevent (verify), so the object is refused as a whole.
func unsupported(object, field string) error {
	return &fault.Fault{
		Code: "SLU-API-001", Hop: fault.HopAPI, Object: object,
		Seen: field + " is set", Why: "this release of Sluice does not implement the field",
		Fix:    "remove " + field + ", or let Flux's own controller reconcile this object",
		Reason: "UnsupportedField",
	}
}

func unsupportedInKustomization(k *Kustomization) error {
	s := &k.Spec
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"spec.sourceRef.kind " + s.SourceRef.Kind, s.SourceRef.Kind != sourcev1.GitRepositoryKind && GitServe.external(s.SourceRef.Kind) == nil},
	} {
		if f.set {
			return unsupported("Kustomization/"+k.Namespace+"/"+k.Name, f.field)
		}
	}
	return nil
}
