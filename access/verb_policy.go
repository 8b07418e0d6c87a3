package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

// PolicyCommit is a policy that may enter into force: its ancestry and signature
// have been checked (policy/git).
type PolicyCommit struct {
	Files  map[string][]byte
	Commit string
	Signer string // person, "" unsigned (development)
	// Cosigners are the other persons who signed the same files, as far as the policy in
	// force lists them as signers.
	Cosigners []string
	// Authors are the persons who signed anything of what is new in it.
	Authors []string
	// After is the commit in force that the ancestry was checked against, "" if
	// there was none. Another one by now is ErrPolicyMoved.
	After string
	// Proof is what proves the commit to gateways; none if it is not signed. Git's
	// objects are not believed here: a gateway checks them.
	Proof proof.Objects
}

// ErrPolicyMoved says that another policy entered into force meanwhile: check
// the candidate again.
var ErrPolicyMoved = errors.New("another policy is in force by now")

// PolicyResult says what a policy change did.
type PolicyResult struct {
	Digest string
	Commit string
	Same   bool     // it was in force already: nothing was written
	Ended  []string // grants that it ended, policy_changed
	// Waits says why it is not in force yet; nil: it is.
	Waits *PolicyWait
}

// policyApplied is the body of the leaf policy.applied.
type policyApplied struct {
	Digest string `json:"digest"`
	Commit string `json:"commit,omitempty"`
	Signer string `json:"signer,omitempty"`
	Before string `json:"before,omitempty"` // digest
	Ended  string `json:"ended"`            // how many live grants

	Cosigners []string            `json:"cosigners,omitempty"`
	How       PolicyHow           `json:"how,omitempty"`      // empty: as the next commit
	Observed  []audit.ObservedApp `json:"observed,omitempty"` // apps in observe mode, by name: nothing is denied there
}

// ApplyPolicy puts a policy in force, or has it wait: if anybody gains by it on an
// app that was there before, it waits for the time that the policy in force says, and
// for the end of a hold. Call it again then. What enters into force is stored by
// digest, told to the instances, and ends every live grant that it removes or narrows;
// it never widens one. Files that do not load, or bring an exception that is over, are a
// policy.Errors, too few signatures a RefusedPolicy, and the policy in force stays.
func (s *Service) ApplyPolicy(ctx context.Context, c PolicyCommit) (PolicyResult, error) {
	set, err := s.load(c.Files, c.Commit, false)
	if err != nil {
		return PolicyResult{}, fmt.Errorf("policy %s: %w", clip(c.Commit), err)
	}
	var out PolicyResult
	err = s.update(ctx, func(w *work) error {
		out = PolicyResult{Digest: set.Digest(), Commit: set.Commit()}
		before, err := w.inForce(ctx, w.tx)
		if err != nil && CodeOf(err) != CodeNoPolicy {
			return err
		}
		if before != nil && before.Digest() == set.Digest() && before.Commit() == set.Commit() {
			out.Same = true
			return nil
		}
		if err := set.CheckAt(w.now, before); err != nil {
			return fmt.Errorf("policy %s: %w", clip(c.Commit), err)
		}
		if have := commitOf(before); have != c.After {
			return fmt.Errorf("policy %s: checked against %q, in force is %q: %w", clip(c.Commit), clip(c.After), clip(have), ErrPolicyMoved)
		}
		if err := w.signedEnough(before, c); err != nil {
			return err
		}
		if out.Waits, err = w.wait(ctx, before, set, c); err != nil || out.Waits != nil {
			return err
		}
		out.Ended, err = w.applyPolicy(ctx, before, set, c, HowCommit)
		return err
	})
	if err != nil {
		return PolicyResult{}, err
	}
	s.checkpointPolicy(ctx)
	return out, nil
}

// checkpointPolicy has a change of policy covered by a checkpoint at once.
func (s *Service) checkpointPolicy(ctx context.Context) {
	if _, err := s.Checkpoint(ctx); err != nil {
		s.log.WarnContext(ctx, "no checkpoint after a policy change; the next one covers it", "error", err)
	}
}

// policyRefused is the body of the leaf policy.refused.
type policyRefused struct {
	Commit string `json:"commit,omitempty"`
	Reason string `json:"reason"`
	Words  string `json:"words"`
}

// RefusePolicy records that a commit did not enter into force: a reason code and
// words for operators. Told the same again, it writes nothing.
func (s *Service) RefusePolicy(ctx context.Context, commit, reason, words string) error {
	no := RefusedCommit{Commit: clip(commit), Reason: clip(reason), Words: clipLong(strings.ToValidUTF8(words, "?"))}
	return s.watched(ctx, func(now time.Time, v *PolicyWatch) {
		if v.Refused.Commit != no.Commit || v.Refused.Reason != no.Reason { // the words may tell the time
			no.At = now
			v.Refused = no
		}
		v.seen(no.Commit, now)
	})
}

func commitOf(set *policy.Set) string {
	if set == nil {
		return ""
	}
	return set.Commit()
}

func (w *work) applyPolicy(ctx context.Context, before, set *policy.Set, c PolicyCommit, how PolicyHow) ([]string, error) {
	err := w.tx.Policies().Apply(ctx, StoredPolicy{Digest: set.Digest(), Commit: set.Commit(), Signer: c.Signer, Files: c.Files, Applied: w.now, Manifest: policy.Manifest(c.Files)})
	if err != nil {
		return nil, fmt.Errorf("store policy: %w", err)
	}
	if err := w.enter(ctx, before, set, c, how); err != nil {
		return nil, err
	}
	if err := w.keepProof(ctx, set, c.Proof); err != nil {
		return nil, err
	}
	if err := w.retarget(ctx, set); err != nil {
		return nil, err
	}
	if err := w.extendLocks(ctx, set); err != nil { // first: what it ends is not told again as changed
		return nil, err
	}
	ended, err := w.endNarrowed(ctx, before, set)
	if err != nil {
		return nil, err
	}
	body := policyApplied{Digest: set.Digest(), Commit: set.Commit(), Signer: c.Signer, Cosigners: c.Cosigners, Ended: strconv.Itoa(len(ended))}
	if how != HowCommit {
		body.How = how
	}
	if before != nil {
		body.Before = before.Digest()
		if err := w.reviewSessions(ctx, before, set); err != nil {
			return nil, err
		}
	}
	for _, o := range set.Observations(w.now) {
		one := audit.ObservedApp{App: o.App}
		if !o.Until.IsZero() {
			one.Until = audit.At(o.Until)
		}
		body.Observed = append(body.Observed, one)
	}
	if _, err := w.leaf(ctx, audit.TypePolicyApplied, set.Digest(), body); err != nil {
		return nil, err
	}
	w.tellApps(before, set)
	return ended, w.tellProofs(ctx, set)
}

// retarget notes what running instances may front from now on. What they fronted
// so far, and the longest lease that they were promised, count until they join
// again: a revoke waits for them.
func (w *work) retarget(ctx context.Context, set *policy.Set) error {
	list, err := w.tx.Instances().List(ctx)
	if err != nil {
		return fmt.Errorf("instances: %w", err)
	}
	for _, i := range list {
		apps := slices.Clone(i.Apps)
		if node, err := nodeOf(set, i.ID); err == nil {
			apps = append(apps, node.Apps...)
		}
		slices.Sort(apps)
		apps = slices.Compact(apps)
		stale := max(i.StaleAfter, staleAfter(set, apps))
		if slices.Equal(apps, i.Apps) && stale == i.StaleAfter {
			continue
		}
		i.Apps, i.StaleAfter = apps, stale
		if err := w.tx.Instances().Join(ctx, i); err != nil {
			return fmt.Errorf("instance %s: %w", i.ID, err)
		}
	}
	return nil
}

// tellApps puts what changed about apps, and about who fronts them, on the feed.
func (w *work) tellApps(before, set *policy.Set) {
	was := map[string]*feed.Resource{}
	if before != nil {
		for _, a := range before.Apps() {
			was[a.Name] = appResource(before, a, w.console)
		}
	}
	for _, a := range set.Apps() {
		now := appResource(set, a, w.console)
		if old, ok := was[a.Name]; !ok || !proto.Equal(old, now) {
			w.put(a.Name, now)
		}
		delete(was, a.Name)
	}
	for name := range was {
		w.remove(name, kindApp, name, string(grant.PolicyChanged))
	}
	if before == nil || !sameNodes(before.Nodes(), set.Nodes()) {
		w.delta(everyApp)
	}
}

// tellProofs puts what proves set on the feed, for each app where approvals are signed.
func (w *work) tellProofs(ctx context.Context, set *policy.Set) error {
	for _, a := range set.Apps() {
		r, err := proofResource(ctx, w.tx, set.Commit(), a.Name)
		if err != nil {
			return err
		}
		if r != nil {
			w.put(a.Name, r)
		}
	}
	return nil
}

func sameNodes(a, b []policy.Node) bool {
	return slices.EqualFunc(a, b, func(x, y policy.Node) bool {
		return x.Sidecar == y.Sidecar && x.Environment == y.Environment && slices.Equal(x.Apps, y.Apps)
	})
}

// endNarrowed ends every live grant that set would not make again as it is, and
// those on an app that leads elsewhere than when they were made.
func (w *work) endNarrowed(ctx context.Context, before, set *policy.Set) ([]string, error) {
	narrowed, err := narrowedBy(ctx, w.tx, before, set)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, g := range narrowed {
		err := w.end(ctx, set, g, audit.TypeGrantRevoked, grant.PolicyChanged, identity.Principal{})
		if err != nil {
			return nil, err
		}
		ids = append(ids, g.ID.String())
	}
	return ids, nil
}

// narrowedBy lists the live grants that set ends when it takes the place of before: with
// one of a bundle, all of it.
func narrowedBy(ctx context.Context, tx Tx, before, set *policy.Set) ([]grant.Grant, error) {
	out, err := narrowedAlone(ctx, tx, before, set)
	if err != nil {
		return nil, err
	}
	listed := map[grant.GrantID]bool{}
	for _, g := range out {
		listed[g.ID] = true
	}
	for _, g := range slices.Clone(out) {
		if g.Request.IsZero() {
			continue
		}
		all, err := tx.Grants().OfRequest(ctx, g.Request)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if !listed[other.ID] && live(other, tx.Now()) {
				listed[other.ID] = true
				out = append(out, other)
			}
		}
	}
	return out, nil
}

func narrowedAlone(ctx context.Context, tx Tx, before, set *policy.Set) ([]grant.Grant, error) {
	var out []grant.Grant
	err := eachLive(ctx, tx, GrantFilter{}, func(g grant.Grant) error {
		if leadsElsewhere(before, set, g.Scope.App) {
			out = append(out, g)
			return nil
		}
		stands, err := stands(ctx, tx, set, g)
		if err == nil && !stands {
			out = append(out, g)
		}
		return err
	})
	return out, err
}

// leadsElsewhere reports whether an app's kind, upstream or credentials changed, or
// it gained a host: a grant on it would reach what nobody was shown, and a commit
// never widens a live grant.
func leadsElsewhere(before, set *policy.Set, name string) bool {
	if before == nil || name == policy.OwnApp {
		return false
	}
	was, ok := before.App(name)
	now, still := set.App(name)
	if !ok || !still {
		return !still
	}
	gained := slices.ContainsFunc(now.Hosts, func(h string) bool { return !slices.Contains(was.Hosts, h) })
	sameCredentials := slices.EqualFunc(was.Credentials, now.Credentials, func(a, b policy.Credential) bool {
		return a.Secret == b.Secret && slices.Equal(a.Operations, b.Operations)
	})
	return was.Kind != now.Kind || was.Upstream.String() != now.Upstream.String() || gained || !sameCredentials
}

// stands reports whether a live grant is still within what set allows: its
// holder may ask for it, it is no longer than the cap from its start, and what
// it covers is covered by today's expansion with its parameters, in a class that
// is no stricter. How it would be approved today does not matter.
func stands(ctx context.Context, tx Tx, set *policy.Set, g grant.Grant) (bool, error) {
	if g.Request.IsZero() {
		return true, nil // the first administrator's, which no policy gave
	}
	r, err := tx.Requests().Get(ctx, g.Request)
	if err != nil {
		return false, fmt.Errorf("request of %s: %w", g.ID, err)
	}
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return false, err
	}
	in, err := basis.Decisions[len(basis.Decisions)-1].Inputs.Input()
	if err != nil {
		return false, err
	}
	in.Requester.Person = set.PersonOf(r.Requester)
	in.Duration = g.NotAfter.Sub(g.NotBefore)
	for _, reason := range set.Decide(in).Reasons {
		if ends(reason.Code) {
			return false, nil
		}
	}
	if r.Entitlement != g.Entitlement { // a bundle was asked for
		if b, ok := set.Bundle(r.Entitlement); !ok || !slices.Contains(b.Entitlements, g.Entitlement) {
			return false, nil // there is none of that name by now, or it goes without this
		}
	}
	e, ok := set.Entitlement(g.Entitlement)
	if !ok {
		return false, nil
	}
	now, err := set.Expand(g.Entitlement, e.Takes(in.Params))
	if err != nil {
		return false, nil
	}
	return within(g.Scope, now.Scope) && now.Class.Stricter(g.Class) == g.Class, nil
}

// ends reports whether a finding of policy ends a live grant: every denial does
// but those about how it is asked for and approved.
func ends(code string) bool {
	switch code {
	case "who", "auto", "steps", policy.DenyJustification, policy.DenyNobodyApproves:
		return false
	default:
		return true
	}
}
