// Package shamir parts a data key among key groups, and puts it together again: Shamir's scheme over GF(256), byte by
// byte, in the form that sops (and HashiCorp Vault, whence it has it) writes: the secret's length of y values and one
// last byte with the part's x.
//
// It stands below sealing and the keyring. It does not check that the parts belong together (nothing in the scheme tells;
// the document's ciphers do). Its time does not depend on the secret.
package shamir

import (
	"crypto/rand"
	"errors"
)

var (
	ErrThreshold = errors.New("the threshold must be from 2 to the number of parts, and those at most 255")
	ErrEmpty     = errors.New("there is no secret to part")
	ErrParts     = errors.New("the parts do not fit together: two or more are needed, of one length, none twice")
)

// Split parts a secret so that any threshold of n parts give it back. Each part is one byte longer than the secret.
func Split(secret []byte, n, threshold int) ([][]byte, error) {
	if threshold < 2 || n < threshold || n > 255 {
		return nil, ErrThreshold
	}
	if len(secret) == 0 {
		return nil, ErrEmpty
	}
	parts := make([][]byte, n)
	for i := range parts {
		parts[i] = make([]byte, len(secret)+1)
		parts[i][len(secret)] = byte(i + 1) // at 0 stands the secret
	}
	coefficients := make([]byte, threshold) // of the polynomial of one byte, the highest first
	defer clear(coefficients)
	for at, b := range secret {
		if _, err := rand.Read(coefficients[:threshold-1]); err != nil {
			return nil, err
		}
		coefficients[threshold-1] = b
		for i, part := range parts {
			y := byte(0)
			for _, c := range coefficients {
				y = mul(y, byte(i+1)) ^ c
			}
			part[at] = y
		}
	}
	return parts, nil
}

// Combine gives back the secret of which parts are parts.
func Combine(parts [][]byte) ([]byte, error) {
	if len(parts) < 2 || len(parts[0]) < 2 {
		return nil, ErrParts
	}
	last := len(parts[0]) - 1
	var seen [256]bool
	for _, p := range parts {
		if len(p) != last+1 || seen[p[last]] {
			return nil, ErrParts
		}
		seen[p[last]] = true
	}
	secret := make([]byte, last)
	for i, p := range parts {
		// The value at 0 of the polynomial that is 1 at this part's x and 0 at the others'.
		basis := byte(1)
		for j, q := range parts {
			if i != j {
				basis = mul(basis, mul(q[last], inverse(p[last]^q[last])))
			}
		}
		for at := range secret {
			secret[at] ^= mul(p[at], basis)
		}
	}
	return secret, nil
}

// mul multiplies in GF(2)[X]/(X⁸+X⁴+X³+X+1), without a branch or a table that depends on what it multiplies.
func mul(a, b byte) (product byte) {
	for bit := 7; bit >= 0; bit-- {
		product = product<<1 ^ -(product>>7)&0x1b
		product ^= -(b >> bit & 1) & a
	}
	return product
}

// inverse gives a⁻¹ = a²⁵⁴, and 0 for 0.
func inverse(a byte) byte {
	result := byte(1)
	for square, exponent := a, 254; exponent > 0; exponent >>= 1 {
		if exponent&1 == 1 { // the exponent is no secret
			result = mul(result, square)
		}
		square = mul(square, square)
	}
	return result
}
