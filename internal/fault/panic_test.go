package fault

import (
	"strings"
	"testing"
)

func TestAPanicIsNamedByItsPlaceAndNotItsValue(t *testing.T) {
	catch := func(do func()) (f *Fault) {
		defer func() { f = Panicked(recover(), HopApply, "SLU-BUG-000") }()
		do()
		return nil
	}
	f := catch(func() { panic("hunter2") })
	if text := f.Multiline(); strings.Contains(text, "hunter2") || !strings.Contains(text, "panic_test.go:") || !strings.Contains(text, "type string") {
		t.Error(text)
	}
	var none []int
	if f := catch(func() { none[len(text(f))]++ }); !strings.Contains(f.Seen, "index out of range") || !strings.Contains(f.Seen, "panic_test.go:") {
		t.Error(f.Seen)
	}
	if again := catch(func() { panic(f) }); again != f {
		t.Error("a fault that was caught before is another now")
	}
}

func text(f *Fault) string { return f.Seen }
