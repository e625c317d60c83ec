package recipient

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// KMS is a key of AWS KMS, with the role to assume for it and the encryption context that its ciphertext is bound to.
// A context's value may be missing in a document.
type KMS struct {
	Arn, Role, AwsProfile string
	EncryptionContext     map[string]*string
	CreationDate          time.Time
	EncryptedKey          string // as the document stores it
}

// NewKMS names a key as of now.
func NewKMS(arn, role string, context map[string]*string, profile string) *KMS {
	return &KMS{Arn: arn, Role: role, EncryptionContext: context, AwsProfile: profile, CreationDate: now()}
}

// ParseKMS reads ARN or ARN+ROLE. An ARN may hold a plus of its own, but no second arn:.
func ParseKMS(text string, context map[string]*string, profile string) *KMS {
	arn, role := strings.ReplaceAll(text, " ", ""), ""
	if i := strings.Index(arn, "+arn:"); i > 0 {
		arn, role = arn[:i], arn[i+1:]
	}
	return NewKMS(arn, role, context, profile)
}

// ErrContext says that a text is no encryption context.
var ErrContext = errors.New("an encryption context is not written name:value,name:value")

// ParseContext reads name:value,name:value. Empty text is no context.
func ParseContext(text string) (map[string]*string, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]*string{}
	for pair := range strings.SplitSeq(text, ",") {
		words := strings.Split(pair, ":")
		if len(words) != 2 {
			return nil, ErrContext
		}
		out[words[0]] = &words[1]
	}
	return out, nil
}

func (k *KMS) Kind() string          { return "kms" }
func (k *KMS) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *KMS) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }

// String is ARN[+ROLE][|CONTEXT][|PROFILE].
func (k *KMS) String() string {
	name := k.Arn
	if k.Role != "" {
		name += "+" + k.Role
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(k.EncryptionContext)) {
		value := ""
		if v := k.EncryptionContext[key]; v != nil {
			value = *v
		}
		pairs = append(pairs, key+":"+value)
	}
	context := strings.Join(pairs, ",")
	if k.AwsProfile != "" {
		return name + "|" + context + "|" + k.AwsProfile
	}
	if context != "" {
		return name + "|" + context
	}
	return name
}
