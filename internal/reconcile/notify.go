package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	notifyQueue   = 1000                  // events that may wait; later ones are dropped and counted in the log
	notifyPause   = 20 * time.Millisecond // between two posts: 50 a second at most
	notifyTries   = 4
	notifyTimeout = 5 * time.Second
	maxNotifyText = 39000 // the receiver's limit on a message

	eventGroup      = "event.toolkit.fluxcd.io" // prefix of an object's annotations that belong into its events
	severityInfo    = "info"
	severityError   = "error"
	keyRevision     = "revision"
	keyOrigin       = "originRevision"
	keyDigest       = "digest"
	keyCommitStatus = "commit_status"
)

// notification is one event as Flux's controllers post it to the notification-controller.
type notification struct {
	InvolvedObject      corev1.ObjectReference `json:"involvedObject"`
	Severity            string                 `json:"severity"`
	Timestamp           metav1.Time            `json:"timestamp"`
	Message             string                 `json:"message"`
	Reason              string                 `json:"reason"`
	Metadata            map[string]string      `json:"metadata,omitempty"`
	ReportingController string                 `json:"reportingController"`
	ReportingInstance   string                 `json:"reportingInstance,omitempty"`
}

// notifier posts notifications one after the other, beside the reconciles and never in their way. Nil drops everything.
type notifier struct {
	addr     string
	instance string
	queue    chan notification
	client   *http.Client
	log      *slog.Logger
}

// newNotifier returns nil for no address. Start sends.
func newNotifier(addr string, log *slog.Logger) *notifier {
	if addr == "" {
		return nil
	}
	host, _ := os.Hostname()
	return &notifier{addr: addr, instance: host, queue: make(chan notification, notifyQueue), client: &http.Client{Timeout: notifyTimeout}, log: log}
}

// add queues n and returns at once.
func (n *notifier) add(e notification) {
	if n == nil {
		return
	}
	if len(e.Message) > maxNotifyText {
		e.Message = strings.ToValidUTF8(e.Message[:maxNotifyText-3], "") + "..."
	}
	e.ReportingInstance = n.instance
	select {
	case n.queue <- e:
	default:
		n.log.Error("notification dropped: the receiver is too slow or away", "object", e.InvolvedObject.Name, "reason", e.Reason)
	}
}

// Start implements manager.Runnable.
func (n *notifier) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-n.queue:
			if err := n.post(ctx, e); err != nil && ctx.Err() == nil {
				n.log.Error("notification not delivered", "object", e.InvolvedObject.Name, "reason", e.Reason, "error", err)
			}
			pause(ctx, notifyPause)
		}
	}
}

// post tries until the receiver has answered for good. 429 is its word for an event that it has seen already.
func (n *notifier) post(ctx context.Context, e notification) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	for try := range notifyTries {
		if try > 0 {
			pause(ctx, time.Second<<(try-1))
		}
		var again bool
		if again, err = n.once(ctx, body); !again {
			return err
		}
	}
	return err
}

func (n *notifier) once(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.addr, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return true, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode < 300, resp.StatusCode == http.StatusTooManyRequests:
		return false, nil
	case resp.StatusCode >= 500:
		return true, fmt.Errorf("the receiver answers %s", resp.Status)
	}
	return false, fmt.Errorf("the receiver answers %s", resp.Status)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
