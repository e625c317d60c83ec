package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// maxReply bounds what a key service may answer, in bytes.
const maxReply = 1 << 20

// Post sends a JSON object and reads the answer into out when its status is 200. The body of any other answer is
// returned as it is, for the caller to find a code in; it must not be shown.
func Post(ctx context.Context, c *http.Client, url string, header http.Header, in, out any) (status int, refusal []byte, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return 0, nil, err
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, raw, nil
	}
	defer clear(raw)
	if json.Unmarshal(raw, out) != nil {
		return res.StatusCode, nil, errNotJSON
	}
	return res.StatusCode, nil, nil
}

// errNotJSON stands for the decoder's error, which quotes what it read.
var errNotJSON = errors.New("the answer is not the JSON that this service gives")
