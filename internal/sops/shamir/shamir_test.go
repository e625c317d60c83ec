package shamir

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	upstream "github.com/getsops/sops/v3/shamir"
)

// Parts of "sops data key, 32 bytes long !!!", 2 of 3, made by the sops library 3.13.2, in hexadecimal.
var vectors = []string{"068969eef840d6e2086901fbd1cd7e5791309f7d8b70ad00e5768a12c6af131b01", "99b842528b2c1443b3b2bf4232f59cfb6f008371914fd460655dbd8df726455502", "ec5e5bcf5308a3d5dafbd5dc9a14c29fcc107e756e5a0a40ec4459f811a8776f03"}

func TestPublishedPartsGiveTheirSecret(t *testing.T) {
	for _, pair := range [][2]int{{0, 1}, {2, 0}, {1, 2}} {
		var parts [][]byte
		for _, i := range pair {
			p, err := hex.DecodeString(vectors[i])
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		if got, err := Combine(parts); err != nil || string(got) != "sops data key, 32 bytes long !!!" {
			t.Errorf("parts %v: %q, %v", pair, got, err)
		}
	}
}

func TestUpstreamAndWeCombineEachOthersParts(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	for _, tt := range []struct{ n, threshold int }{{2, 2}, {3, 2}, {5, 3}, {20, 20}, {255, 4}} {
		for who, split := range map[string]func([]byte, int, int) ([][]byte, error){"we": Split, "upstream": upstream.Split} {
			parts, err := split(secret, tt.n, tt.threshold)
			if err != nil {
				t.Fatal(err)
			}
			some := parts[tt.n-tt.threshold:]
			for by, combine := range map[string]func([][]byte) ([]byte, error){"us": Combine, "upstream": upstream.Combine} {
				if got, err := combine(some); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("%d of %d, parted by %s, combined by %s: %x, %v", tt.threshold, tt.n, who, by, got, err)
				}
			}
			if tt.threshold > 2 {
				if got, err := Combine(some[1:]); err == nil && bytes.Equal(got, secret) {
					t.Errorf("%d of %d: one less is enough", tt.threshold, tt.n)
				}
			}
		}
	}
}

func TestWhatCannotBePartedOrCombinedIsRefused(t *testing.T) {
	for _, tt := range []struct {
		n, threshold int
		want         error
	}{{1, 2, ErrThreshold}, {2, 1, ErrThreshold}, {256, 2, ErrThreshold}, {2, 0, ErrThreshold}} {
		if _, err := Split([]byte("x"), tt.n, tt.threshold); !errors.Is(err, tt.want) {
			t.Errorf("%d of %d: %v", tt.threshold, tt.n, err)
		}
	}
	if _, err := Split(nil, 2, 2); !errors.Is(err, ErrEmpty) {
		t.Errorf("no secret: %v", err)
	}
	for name, parts := range map[string][][]byte{
		"one part": {{1, 1}}, "none": nil, "too short": {{1}, {2}}, "lengths differ": {{1, 2, 1}, {1, 2}}, "one twice": {{1, 2}, {3, 2}},
	} {
		if _, err := Combine(parts); !errors.Is(err, ErrParts) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheFieldIsAField(t *testing.T) {
	for a := range 256 {
		if a > 0 && mul(byte(a), inverse(byte(a))) != 1 {
			t.Errorf("%d has no inverse", a)
		}
		if mul(byte(a), 1) != byte(a) || mul(byte(a), 0) != 0 {
			t.Errorf("%d times one and nothing", a)
		}
	}
	if mul(0x57, 0x83) != 0xc1 { // FIPS 197, 4.2
		t.Error("not Rijndael's field")
	}
}
