package aws

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

type recorder struct{ hosts []string }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.hosts = append(r.hosts, req.URL.Host)
	body := `{"__type":"NotFoundException"}`
	if strings.HasPrefix(req.URL.Host, "sts.") {
		body = `<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`
	}
	return &http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// The region of a key's ARN becomes part of the host that is asked.
func FuzzRequestsGoToAWSAlone(f *testing.F) {
	f.Add("arn:aws:kms:eu-central-1:123456789012:key/1234", "")
	f.Add("arn:aws-cn:kms:cn-north-1:123456789012:alias/sops", "arn:aws-cn:iam::123456789012:role/x")
	f.Add("arn:aws:kms:evil.test/:123456789012:key/1234", "")
	f.Add("arn:aws:kms:x@evil.test#:123456789012:key/1234", "arn:aws:iam::1:role/../x y")
	f.Fuzz(func(t *testing.T, arn, role string) {
		r := &recorder{}
		c := New(Static("id", "secret", ""), Options{HTTP: r})
		if _, err := c.Decrypt(t.Context(), Key{ARN: arn, Role: role}, []byte("x")); fault.From(err) == nil {
			t.Fatalf("no fault: %v", err)
		}
		for _, h := range r.hosts {
			ok := false
			for _, suffix := range []string{".amazonaws.com", ".amazonaws.com.cn", ".c2s.ic.gov", ".sc2s.sgov.gov", ".amazonaws.eu", ".cloud.adc-e.uk", ".csp.hci.ic.gov"} {
				ok = ok || strings.HasSuffix(h, suffix)
			}
			if !ok {
				t.Errorf("%q: sent to %s", arn, h)
			}
		}
	})
}

func TestAKeyIsAskedInItsRegion(t *testing.T) {
	r := &recorder{}
	_, _ = New(Static("id", "secret", ""), Options{HTTP: r}).Decrypt(t.Context(), Key{ARN: "arn:aws:kms:eu-central-1:123456789012:key/1"}, []byte("x"))
	if len(r.hosts) == 0 || r.hosts[0] != "kms.eu-central-1.amazonaws.com" {
		t.Errorf("sent to %v", r.hosts)
	}
}
