package access

import (
	"context"
	"encoding/hex"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

// ApproveSigned is Approve with the approver's signature of the Offer's digest, by a
// key that people: lists for their person. A step that policy wants signed takes no
// other approval. The gateways check the signature again, by themselves.
func (s *Service) ApproveSigned(ctx context.Context, c Caller, id grant.RequestID, offerDigest, reason string, signature proof.Signature) (Request, error) {
	return s.answer(ctx, c, id, reason, func(w *work, set *policy.Set, r *Request) error {
		if offerDigest != r.OfferDigest {
			return fault(CodeStaleOffer, "mayfly show "+r.ID.String(), "the digest is not that of the offer of %s: look at it again", r.ID)
		}
		if err := w.checkSignature(ctx, set, c, *r, signature); err != nil {
			return err
		}
		a, err := w.speak(ctx, set, c, r, true, reason, signature)
		if err != nil {
			return err
		}
		if err := w.approvalLeaf(ctx, a); err != nil {
			return err
		}
		return w.advance(ctx, set, r, a.Step)
	})
}

// checkSignature refuses an approval that every gateway would refuse: unsigned where
// the step wants it signed, or signed by a key that is not the approver's.
func (w *work) checkSignature(ctx context.Context, set *policy.Set, c Caller, r Request, signature proof.Signature) error {
	said, err := w.tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return err
	}
	signed := len(r.Steps) > 0 && r.Steps[currentStep(r, said)].Signed
	switch {
	case !signed && signature.IsZero():
		return nil
	case !signed:
		return fault(CodeInvalid, "", "%s is not approved by signatures: approve it without one", r.Entitlement)
	case signature.IsZero():
		return fault(CodeNotSigned, "mayfly approve "+r.ID.String()+" --sign-with KEY", "%s is approved with a signature: sign the offer's digest with a key that people: lists for you", r.Entitlement)
	}
	digest, err := hex.DecodeString(r.OfferDigest)
	if err != nil || len(digest) != 32 {
		return fault(CodeInternal, "", "the offer of %s has no digest", r.ID)
	}
	keys, err := approverKeys(set, c)
	if err != nil {
		return err
	}
	if err := proof.CheckSignature(signature, keys, [32]byte(digest), w.site()); err != nil {
		return fault(CodeNotSigned, "", "the signature is not taken: %s", sentence(err))
	}
	return nil
}

func sentence(err error) string {
	text := err.Error()
	if !utf8.ValidString(text) {
		return "it cannot be read"
	}
	return clipLong(text)
}

// approverKeys returns the keys that policy lists for the caller's person.
func approverKeys(set *policy.Set, c Caller) ([]proof.Key, error) {
	var out []proof.Key
	for _, k := range set.ApproverKeys(set.PersonOf(c.Principal)) {
		key, err := proof.ParseKey(k.Sort, k.Text)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, nil
}

// site is where passkeys are used: the console. Without one, or with one that no
// browser would take, none is.
func (s *Service) site() proof.Site {
	site, err := proof.ParseSite(s.console)
	if err != nil {
		return proof.Site{}
	}
	return site
}

// signatureHash names a signature in the record; "" for none.
func signatureHash(signature proof.Signature) (string, error) {
	b, err := signature.Encode()
	if err != nil || b == nil {
		return "", err
	}
	return audit.SHA256(b).String(), nil
}
