package store

import "github.com/sluice-gitops/sluice/internal/sops/tree"

// binaryStore holds any bytes: sealed, they are the one value of a JSON document.
type binaryStore struct{ jsonStore }

const binaryKey = "data"

// Read implements Store: the file is the value.
func (binaryStore) Read(data []byte) ([]tree.Branch, error) {
	return []tree.Branch{{{Key: binaryKey, Value: string(data)}}}, nil
}

// Write implements Store: the value is the file.
func (binaryStore) Write(branches []tree.Branch) ([]byte, error) {
	if len(branches) != 1 {
		return nil, ErrNoForm
	}
	v, _ := branches[0].Get(binaryKey)
	text, ok := v.(string)
	if !ok {
		return nil, ErrNoForm
	}
	return []byte(text), nil
}

// WriteValue implements Store: there are no parts.
func (binaryStore) WriteValue(any) ([]byte, error) { return nil, ErrNoForm }
