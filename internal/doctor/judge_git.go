package doctor

import (
	"errors"
	"fmt"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func judgeSource(f *Facts) verdict {
	s := &f.Source
	object, ns := s.Kind+"/"+s.Name, s.Namespace
	if s.Err != nil {
		if v, ok := forbidden(s.Err, "get", kinds[s.Kind].resource, ns); ok {
			return v
		}
		code, why, fix := "SLU-GIT-060", "the API server does not give it", s.listed()
		switch {
		case errors.Is(s.Err, errNoKind):
			why, fix = s.Err.Error(), "correct spec.sourceRef.kind of the Kustomization"
		case apierrors.IsNotFound(s.Err):
			code, why = "SLU-GIT-091", "spec.sourceRef of the Kustomization names it, and it does not exist"
		case apimeta.IsNoMatchError(s.Err):
			why, fix = "the cluster does not serve the kind", "install the controller that makes them, or correct spec.sourceRef of the Kustomization"
		}
		return broken(&fault.Fault{
			Code: code, Hop: fault.HopGit, Object: object, Seen: object + " cannot be read in namespace " + ns, Why: why, Fix: fix, Err: s.Err,
		}, "a "+s.Kind+" of that name", nil)
	}
	switch {
	case s.FetchErr != nil:
		return broken(told(s.FetchErr), "a fetch of "+s.address()+" that succeeds", nil)
	case s.NotReady != "":
		return broken(&fault.Fault{
			Code: "SLU-GIT-061", Hop: fault.HopGit, Object: object, Seen: "the controller cannot fetch it: " + s.NotReady,
			Why: "its condition Ready is False, although the remote may answer here", Fix: s.again(),
		}, "the condition Ready True", nil)
	case s.Looked && s.Fetched != "" && s.Fetched != s.Revision:
		return fine(fmt.Sprintf("the remote has %s; the controller fetched %s last", s.Revision, s.Fetched))
	case s.Looked:
		return fine("fetched " + s.Revision)
	case s.Fetched != "":
		return fine("the controller fetched " + s.Fetched + "; not fetched from here, which needs " + s.Why)
	}
	return unseen(s.Why)
}

// address is where the files come from.
func (s *SourceFacts) address() string {
	if s.URL == "" && s.Artifact != nil {
		return s.Artifact.URL
	}
	return s.URL
}

// listed is the command that shows which sources there are.
func (s *SourceFacts) listed() string {
	if s.Kind == sourcev1.GitRepositoryKind {
		return "sluice get sources git -n " + s.Namespace
	}
	return "kubectl get " + kinds[s.Kind].resource + " -n " + s.Namespace
}

// again is the command that has the source fetched anew, by whoever reconciles it.
func (s *SourceFacts) again() string {
	if s.Kind == sourcev1.GitRepositoryKind && !s.Others {
		return "sluice reconcile source git " + s.Name + " -n " + s.Namespace
	}
	return "kubectl describe " + kinds[s.Kind].resource + " -n " + s.Namespace + " " + s.Name
}

func judgePath(f *Facts) verdict {
	path := f.Kustomization.Spec.Path
	if path == "" {
		path = "./"
	}
	if f.Path != nil {
		fa := told(f.Path)
		if fa.Fix == "" {
			fa.Fix = "correct spec.path of the Kustomization, or push what it names"
		}
		return broken(fa, "the directory "+path+" in the revision", nil)
	}
	if f.Source.Revision == "" {
		return unseen("the revision's files (see source)")
	}
	return fine(path + " exists")
}

func judgeFiles(f *Facts) verdict {
	if f.Source.Revision == "" {
		return unseen("the revision's files (see source)")
	}
	const expected = "SOPS metadata with a recipient that the cluster can open"
	recipients := map[string]bool{}
	for _, d := range f.Documents {
		if d.Err != nil {
			fa := told(d.Err)
			if fa.File == "" {
				fa.File = d.Path
			}
			return broken(fa, expected, nil)
		}
		for _, r := range d.Recipients {
			recipients[r] = true
		}
	}
	// A file that names a Key Vault key has a recipient for the cluster: if it does not serve, that is a later hop's.
	if fa, d := f.trialFault("sops files"); fa != nil && len(d.Keys) == 0 {
		return broken(fa, expected, nil)
	}
	if len(f.Documents) == 0 {
		return fine("the Kustomization reads no encrypted file")
	}
	return fine(fmt.Sprintf("%s, for %s", count(len(f.Documents), "encrypted file"), strings.Join(keysOf(recipients), ", ")))
}

func judgeDecryption(f *Facts) verdict {
	k := f.Object.String()
	d := f.Kustomization.Spec.Decryption
	if len(f.Documents) == 0 && d == nil {
		if f.Source.Revision == "" {
			return unseen("the revision's files, to tell whether it is missed")
		}
		return skipped("spec.decryption is not set, and no file needs it")
	}
	if d == nil || d.Provider != "sops" {
		name := "a file"
		if len(f.Documents) > 0 {
			name = f.Documents[0].Path
		}
		fa := &fault.Fault{
			Code: "SLU-SOPS-101", Hop: fault.HopSOPS, Object: "Kustomization/" + k, File: name,
			Seen: "it is SOPS encrypted, but the Kustomization has no decryption configured",
			Why:  "spec.decryption is missing, so the sealed values would be applied as they stand",
			Fix: fmt.Sprintf(`kubectl patch kustomization -n %s %s --type merge -p '{"spec":{"decryption":{"provider":"sops"}}}'`,
				f.Object.Namespace, f.Object.Name),
		}
		return broken(fa, "spec.decryption.provider sops", &Remedy{
			Commands: []string{fa.Fix}, Keep: "set spec.decryption.provider in the Kustomization's file in Git as well",
			Patch: &Patch{"kustomize.toolkit.fluxcd.io/v1", "Kustomization", f.Object.Namespace, f.Object.Name,
				map[string]any{"spec": map[string]any{"decryption": map[string]any{"provider": "sops"}}}},
		})
	}
	if f.SecretErr != nil {
		if v, ok := forbidden(f.SecretErr, "get", "secrets", f.Object.Namespace); ok {
			return v
		}
		fa := told(f.SecretErr)
		if apierrors.IsNotFound(f.SecretErr) {
			fa = &fault.Fault{
				Code: "SLU-KUBERNETES-001", Hop: fault.HopKeyring, Object: "Kustomization/" + k,
				Seen: "Secret " + f.Object.Namespace + "/" + d.SecretRef.Name + " does not exist", Why: "secretRef names it",
				Fix: "kubectl create secret generic -n " + f.Object.Namespace + " " + d.SecretRef.Name + " --from-file=age.agekey=<key file>", Err: f.SecretErr,
			}
		}
		return broken(fa, "a Secret with the decryption keys", nil)
	}
	switch {
	case d.SecretRef != nil:
		return fine("provider sops, with the keys of Secret " + d.SecretRef.Name)
	case f.PerObject:
		return fine("provider sops, as ServiceAccount " + f.Account.String())
	}
	return fine("provider sops, as the controller")
}
