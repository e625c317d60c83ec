package reconcile

import (
	"math/rand/v2"
	"time"
)

// jittered spreads an interval by up to percent of it to either side, so that objects made at one time do not come due
// at one time for ever.
func jittered(d time.Duration, percent int) time.Duration {
	if percent <= 0 || d <= 0 {
		return d
	}
	return time.Duration(float64(d) * (1 + float64(percent)/100*(2*rand.Float64()-1)))
}
