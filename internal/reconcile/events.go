package reconcile

import (
	"maps"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxEventNote is the API's limit on an event's message.
const maxEventNote = 1024

// recorder writes Kubernetes Events and notifications the way Flux's controllers do, with the revision as metadata.
type recorder struct {
	record.EventRecorder
	scheme    *runtime.Scheme
	component string    // who reports
	group     string    // metadata prefix: the API group of the objects
	notify    *notifier // nil: nobody listens
}

// newRecorder returns a recorder that writes under the given component name; stop ends its goroutines.
func newRecorder(c typedcorev1.EventsGetter, scheme *runtime.Scheme, component, group string) (r recorder, stop func()) {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.Events("")})
	events := b.NewRecorder(scheme, corev1.EventSource{Component: component})
	return recorder{events, scheme, component, group, nil}, b.Shutdown
}

func (r recorder) write(obj client.Object, kind string, about map[string]string, reason, message string) {
	note := message
	if len(note) > maxEventNote {
		note = strings.ToValidUTF8(note[:maxEventNote-3], "") + "..."
	}
	r.AnnotatedEventf(obj, about, kind, reason, "%s", note)
	severity := severityInfo
	if kind == corev1.EventTypeWarning {
		severity = severityError
	}
	r.post(obj, severity, reason, message, about)
}

// metadata is what Flux says about an event: revisions under the prefix of the objects' group, and the annotations by
// which a user adds to an object's events.
func (r recorder) metadata(obj client.Object, revision string) map[string]string {
	about := map[string]string{r.group + "/" + keyRevision: revision}
	if revision == "" {
		clear(about)
	}
	if k, ok := obj.(*Kustomization); ok && k.Status.LastAppliedOriginRevision != "" && k.Status.LastAppliedRevision == revision {
		about[r.group+"/"+keyOrigin] = k.Status.LastAppliedOriginRevision
	}
	for name, value := range obj.GetAnnotations() {
		if strings.HasPrefix(name, eventGroup+"/") {
			about[name] = value
		}
	}
	return about
}

func (r recorder) post(obj client.Object, severity, reason, message string, about map[string]string) {
	if r.notify == nil {
		return
	}
	ref, err := reference.GetReference(r.scheme, obj)
	if err != nil {
		return // the scheme knows every kind that is recorded
	}
	r.notify.add(notification{
		InvolvedObject: *ref, Severity: severity, Timestamp: metav1.Now(), Message: message, Reason: reason, Metadata: about,
		ReportingController: r.component,
	})
}

// finished tells the receiver, which may pass it on as a commit's status, that a revision was applied. It is no
// Kubernetes Event: a commit that changes one of a thousand Kustomizations finishes them all.
func (r recorder) finished(obj client.Object, revision, reason, message string) {
	about := maps.Clone(r.metadata(obj, revision))
	about[r.group+"/"+keyCommitStatus] = "update"
	r.post(obj, severityInfo, reason, message, about)
}

func (r recorder) normal(obj client.Object, revision, reason, message string) {
	r.write(obj, corev1.EventTypeNormal, r.metadata(obj, revision), reason, message)
}

// step tells of something that was done on the way to a revision: what was changed, or that it is healthy.
func (r recorder) step(obj client.Object, revision, origin, message string) {
	about := r.metadata(obj, revision)
	if origin != "" {
		about[r.group+"/"+keyOrigin] = origin
	}
	r.write(obj, corev1.EventTypeNormal, about, meta.ProgressingReason, message)
}

// stored tells of an artifact, with its digest.
func (r recorder) stored(obj client.Object, revision, digest, reason, message string) {
	about := r.metadata(obj, revision)
	about[r.group+"/"+keyDigest] = digest
	r.write(obj, corev1.EventTypeNormal, about, reason, message)
}

func (r recorder) warning(obj client.Object, revision, reason, message string) {
	r.write(obj, corev1.EventTypeWarning, r.metadata(obj, revision), reason, message)
}
