package live

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// sighting is what is taken from an object as it is received; the object itself goes no further. It is what the
// reflector passes around in the object's place, so it has to look like one.
type sighting struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, namespace, UID and resourceVersion

	print   digest
	whole   digest
	rv      uint64 // resourceVersion; 0 if it is no number, and can't be compared
	verdict health.Verdict
	owner   plan.Owner // by its labels
	marked  bool       // the live object says that it is not to be managed
	manager string     // see culprit
}

// sightings is a list of them, in the form that the reflector's pager reads.
type sightings struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []sighting
}

// DeepCopyObject implements runtime.Object. Nobody changes a sighting.
func (s *sighting) DeepCopyObject() runtime.Object { c := *s; return &c }

// DeepCopyObject implements runtime.Object.
func (s *sightings) DeepCopyObject() runtime.Object { c := *s; return &c }

// longest is how many bytes of a verdict's message are kept.
const longest = 160

// see takes from an object what is kept. Strings are copied, so that none holds the buffer that the object came in.
func (p printer) see(u *unstructured.Unstructured) *sighting {
	owner, _ := plan.OwnerOf(u)
	heeded := u
	if rules, ok := p.ignore.Load(owner); ok {
		heeded = rules.(plan.Ignore).Strip(u, u)
	}
	s := &sighting{print: p.live(heeded), whole: p.whole(heeded), manager: strings.Clone(p.culprit(u)), owner: owner}
	s.Name, s.Namespace = strings.Clone(u.GetName()), strings.Clone(u.GetNamespace())
	s.UID, s.ResourceVersion = u.GetUID(), strings.Clone(u.GetResourceVersion())
	s.rv, _ = strconv.ParseUint(s.ResourceVersion, 10, 64)
	s.marked = plan.Ask(u) == plan.AskNothing
	s.verdict = health.Of(inventory.IDOf(u), u)
	if len(s.verdict.Message) > longest {
		s.verdict.Message = strings.ToValidUTF8(s.verdict.Message[:longest], "") + "…"
	}
	s.verdict.Message = strings.Clone(s.verdict.Message)
	return s
}

// seeAll takes from a list what is kept.
func (p printer) seeAll(list *unstructured.UnstructuredList) *sightings {
	out := &sightings{Items: make([]sighting, len(list.Items))}
	out.ResourceVersion, out.Continue = list.GetResourceVersion(), list.GetContinue()
	out.RemainingItemCount = list.GetRemainingItemCount()
	for i := range list.Items {
		out.Items[i] = *p.see(&list.Items[i])
		list.Items[i].Object = nil
	}
	return out
}
