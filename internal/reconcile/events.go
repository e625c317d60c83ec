package reconcile

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// maxEventNote is the API's limit on an event's message.
const maxEventNote = 1024

// recorder writes Kubernetes Events the way Flux's controllers do, with the revision as an annotation.
type recorder struct {
	record.EventRecorder
	group string // annotation prefix: the API group of the objects
}

// newRecorder returns a recorder that writes under the given component name; stop ends its goroutines.
func newRecorder(c kubernetes.Interface, scheme *runtime.Scheme, component, group string) (r recorder, stop func()) {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.CoreV1().Events("")})
	return recorder{b.NewRecorder(scheme, corev1.EventSource{Component: component}), group}, b.Shutdown
}

func (r recorder) write(obj runtime.Object, kind, revision, reason, message string) {
	if len(message) > maxEventNote {
		message = strings.ToValidUTF8(message[:maxEventNote-3], "") + "..."
	}
	r.AnnotatedEventf(obj, map[string]string{r.group + "/revision": revision}, kind, reason, "%s", message)
}

func (r recorder) normal(obj runtime.Object, revision, reason, message string) {
	r.write(obj, corev1.EventTypeNormal, revision, reason, message)
}

func (r recorder) warning(obj runtime.Object, revision, reason, message string) {
	r.write(obj, corev1.EventTypeWarning, revision, reason, message)
}
