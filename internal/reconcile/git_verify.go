package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/source"
)

// verify checks what was fetched against spec.verify before anything of it is handed on, and tells success in obj's
// status. A failure keeps the revision that was verified before.
func (g *GitRepositories) verify(ctx context.Context, obj *sourcev1.GitRepository, cond conditions, rev *source.Revision) error {
	v := obj.Spec.Verification
	if v == nil {
		obj.Status.SourceVerificationMode = nil
		cond.drop(sourcev1.SourceVerifiedCondition)
		return nil
	}
	data, err := secretData(ctx, g.Secrets, obj.Namespace, v.SecretRef.Name)
	if err != nil {
		return unverified(obj, sourcev1.VerificationError, "public keys secret error: "+err.Error(), err)
	}
	keys, verified := source.KeysOf(data), "verified signature of"
	if v.VerifyTag() {
		tag := rev.Tag()
		if tag == "" {
			err := unverified(obj, "InvalidVerificationMode", "cannot verify tag object's signature if a tag reference is not specified", nil)
			err.(*stepError).stalled = true
			return err
		}
		key, err := rev.VerifyTag(keys)
		switch {
		case errors.Is(err, source.ErrNotSigned):
			return unverified(obj, "InvalidGitObject", fmt.Sprintf("cannot verify signature of tag '%s' since it is not signed", tag), err)
		case err != nil:
			return unverified(obj, "InvalidTagSignature", fmt.Sprintf("signature verification of tag '%s' failed: %s", tag, err), err)
		}
		verified += fmt.Sprintf("\n\t- tag '%s' with key '%s'", tag, key)
	}
	if v.VerifyHEAD() {
		key, err := rev.VerifyCommit(keys)
		if err != nil {
			return unverified(obj, "InvalidCommitSignature", fmt.Sprintf("signature verification of commit '%s' failed: %s", rev.Commit.Hash, err), err)
		}
		verified += fmt.Sprintf("\n\t- commit '%s' with key '%s'", rev.Commit.Hash, key)
	}
	mode := v.GetMode()
	obj.Status.SourceVerificationMode = &mode
	cond.set(sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, meta.SucceededReason, verified)
	return nil
}

// unverified is told in SourceVerified and Ready, with Flux's reasons and the heart of its messages.
func unverified(obj *sourcev1.GitRepository, reason, seen string, err error) error {
	return &stepError{condition: sourcev1.SourceVerifiedCondition, status: metav1.ConditionFalse, err: gitStepFault(obj, "SLU-GIT-018", reason, seen, "",
		"sign it with a key that Secret "+obj.Namespace+"/"+obj.Spec.Verification.SecretRef.Name+" holds, or add the signer's key there", err)}
}
