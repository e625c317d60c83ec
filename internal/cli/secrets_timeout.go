package cli

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// envKeyTimeout is how long a key service may take for one key, retries included.
const envKeyTimeout = "SLUICE_KEY_TIMEOUT"

// keyTimeout is the limit that the user set, else 30 seconds.
func (s Streams) keyTimeout() (time.Duration, error) {
	text := s.Env(envKeyTimeout)
	if text == "" {
		return 30 * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not above zero")
	}
	if err != nil {
		return 0, &fault.Fault{Code: "SLU-USAGE-037", Hop: fault.HopUsage, Seen: envKeyTimeout + " is no time", Fix: "write it as 30s or 2m", Exit: 1}
	}
	return d, nil
}

// wrapsInTime bounds an encryption of a data key as the keyring bounds a decryption.
func wrapsInTime(w wrap, limit time.Duration) wrap {
	return func(ctx context.Context, k recipient.Key, dataKey []byte) ([]byte, bool, error) {
		bounded, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		enc, handled, err := w(bounded, k, dataKey)
		return enc, handled, keyring.NoAnswer(ctx, err, k.Kind()+" "+k.String(), limit)
	}
}
