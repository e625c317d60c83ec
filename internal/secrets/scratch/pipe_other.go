//go:build !unix

package scratch

import "errors"

// Pipe needs named pipes, which this system does not have.
func (f *Folder) Pipe(string, []byte) (string, error) {
	return "", errors.New("no named pipes here: use --no-fifo")
}

// Give needs users with numbers.
func (f *Folder) Give(string) error { return errors.New("--user is not supported on this system") }
