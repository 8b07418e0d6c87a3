package access_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
	"github.com/mayflyproxy/mayfly/scope"
)

// signedWorld is a world whose policy is a real repository with signed approvals.
type signedWorld struct {
	*world
	git *prooftest.World
}

func newSignedWorld(t *testing.T) *signedWorld {
	t.Helper()
	w := &signedWorld{world: newWorld(t), git: prooftest.New(t)}
	w.put(nil)
	return w
}

// put commits changed files and puts the policy in force.
func (w *signedWorld) put(changed map[string]string) {
	w.t.Helper()
	commit := w.git.Tip(w.t)
	if changed != nil {
		commit = w.git.Commit(w.t, changed)
	}
	files := map[string][]byte{}
	for name, text := range w.git.Files(w.t) {
		if other, ok := changed[name]; ok {
			text = other
		}
		files[name] = []byte(text)
	}
	_, err := w.ApplyPolicy(w.t.Context(), access.PolicyCommit{Files: files, Commit: commit, Signer: "carol", After: w.commit, Proof: w.git.Objects(w.t, commit)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit = commit
}

func (w *signedWorld) pending() (access.Request, []byte) {
	w.t.Helper()
	r := w.ask(w.in(alice, "support"), access.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": "/daily"}, Reason: "the monthly close"}, access.Pending)
	v, err := w.ShowRequest(w.t.Context(), w.in(alice, "support"), r.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, v.OfferBytes
}

// TestApprovalsAreSigned: where policy wants a signature there is no approval
// without the approver's own, of exactly this offer, and no grant.
func TestApprovalsAreSigned(t *testing.T) {
	w := newSignedWorld(t)
	r, offer := w.pending()
	approve := func(who string, s proof.Signature) error {
		_, err := w.ApproveSigned(t.Context(), w.in(who), r.ID, r.OfferDigest, "", s)
		return err
	}
	for name, s := range map[string]proof.Signature{
		"none":                     {},
		"another's key":            w.git.SignSSH(t, prooftest.Stranger, offer),
		"of another offer":         w.git.SignSSH(t, prooftest.Approver, []byte("{}")),
		"made for commits":         w.git.SignSSHFor(t, prooftest.Approver, proof.NamespaceGit, offer),
		"a passkey without a site": w.git.SignPasskey(t, w.git.Touch(offer)),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, approve(bob, s), access.CodeNotSigned) })
	}
	wantCode(t, approve("user:idp:mallory", w.git.SignSSH(t, prooftest.Stranger, offer)), access.CodeNotEligible)
	wantCode(t, approve(alice, w.git.SignSSH(t, prooftest.Requester, offer)), access.CodeSelfApproval)
	if err := approve(bob, w.git.SignSSH(t, prooftest.Approver, offer)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, approve(bob, w.git.SignSSH(t, prooftest.Approver, offer)), access.CodeAlreadyDecided)
}

// TestNoSignatureWhereNoneIsAsked: it would look as if it had been checked.
func TestNoSignatureWhereNoneIsAsked(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(refunder), refund(), access.Pending)
	_, err := w.ApproveSigned(t.Context(), w.as(bob), r.ID, r.OfferDigest, "", proof.Signature{SSH: "x"})
	wantCode(t, err, access.CodeInvalid)
}

// signedGrant has alice's request approved by two persons with SSH keys.
func (w *signedWorld) signedGrant() access.Request {
	w.t.Helper()
	r, offer := w.pending()
	for _, who := range []string{"bob", "mallory"} {
		var err error
		if r, err = w.ApproveSigned(w.t.Context(), w.in("user:idp:"+who), r.ID, r.OfferDigest, "", w.git.SignSSH(w.t, who, offer)); err != nil {
			w.t.Fatal(err)
		}
	}
	if r.State != access.Approved {
		w.t.Fatalf("request is %s: %s", r.State, r.Sentence)
	}
	return r
}

// malloryToo lets mallory approve, who has an SSH key.
func malloryToo(w *signedWorld) map[string]string {
	const file = "entitlements/reports/read.yaml"
	return map[string]string{file: strings.Replace(w.git.Files(w.t)[file], "[bob, erin, alice]", "[bob, erin, alice, mallory]", 1)}
}

// TestTheFeedCarriesTheProof: what a gateway is told of a signed grant proves it, in
// the change that made it and in a snapshot, with the leaf shown in a checkpoint.
func TestTheFeedCarriesTheProof(t *testing.T) {
	w := newSignedWorld(t)
	w.put(malloryToo(w))
	before := w.head()
	r := w.signedGrant()
	changes, ok, err := w.Source().Changes(t.Context(), before, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || len(changes[0].Resources) != 1 {
		t.Fatalf("changes %v, %v, %v", changes, ok, err)
	}
	told := changes[0].Resources[0]
	snap, err := snapshotOf(t.Context(), w.Source(), []string{"reports"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, one := range snap.Resources {
		kinds = append(kinds, feed.KindOf(one))
	}
	if got := strings.Join(kinds, " "); got != "app proof grant" {
		t.Fatalf("the snapshot has %s", got)
	}
	if !proto.Equal(told, snap.Resources[2]) {
		t.Errorf("the snapshot tells another grant than the change:\n%v\n%v", told, snap.Resources[2])
	}
	p := snap.Resources[1].GetProof()
	read, err := w.git.Trust(t).Read(p.GetCommit(), proof.Objects{Commits: p.GetCommits(), Trees: p.GetTrees(), Blobs: p.GetBlobs()})
	if err != nil {
		t.Fatal(err)
	}
	g := told.GetGrant()
	claim := proof.Claim{
		Grant: w.fed(r.Grant), Params: g.GetParams(), Catalogue: g.GetCatalogue(), Offer: g.GetOffer(),
		Leaf: g.GetRecorded().GetLeaf(), Index: g.GetRecorded().GetIndex(), Operations: w.web(),
	}
	for _, a := range g.GetApprovals() {
		s, err := proof.ParseSignature(a.GetSignature())
		if err != nil {
			t.Fatal(err)
		}
		claim.Approvals = append(claim.Approvals, proof.Approval{Person: a.GetPerson(), Step: int(a.GetStep()), Signature: s})
	}
	if got, err := read.Check(claim); err != nil || hex.EncodeToString(got.Offer[:]) != r.OfferDigest {
		t.Fatalf("the proof does not hold: %v", err)
	}
	w.showsLeaf(g.GetRecorded())
}

// showsLeaf asks for the leaf as a gateway does, and checks the answer.
func (w *signedWorld) showsLeaf(r *feed.Recorded) {
	w.t.Helper()
	i := w.join("a")
	pulse, err := w.Source().Beat(w.t.Context(), []feed.Beat{{Instance: i, Ping: &feed.Ping{Nonce: "n", Prove: []int64{-1, r.GetIndex(), 1 << 40}}}})
	if err != nil {
		w.t.Fatal(err)
	}
	shown := pulse.Leaves[i]
	if len(shown) != 1 || shown[0].GetIndex() != r.GetIndex() {
		w.t.Fatalf("shown %v", shown)
	}
	c, err := w.verifier.Open(pulse.Checkpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	var path []audit.Hash
	for _, h := range shown[0].GetPath() {
		path = append(path, audit.Hash(h))
	}
	if err := audit.CheckLeaf(path, c, r.GetIndex(), r.GetLeaf()); err != nil {
		w.t.Error(err)
	}
}

func (w *signedWorld) fed(id grant.GrantID) (g grant.Grant) {
	w.t.Helper()
	w.view(func(ctx ctxT, tx access.Tx) (err error) { g, err = tx.Grants().Get(ctx, id); return err })
	return g
}

func (w *signedWorld) web() *scope.Catalogue {
	c, _ := catalogues(w.t)("web")
	return c
}

// TestAGatewayThatMissedPoliciesIsShownTheLine: the newest proof shows every commit
// that was in force before, though git was asked only for those since the last one.
func TestAGatewayThatMissedPoliciesIsShownTheLine(t *testing.T) {
	w := newSignedWorld(t)
	first := w.commit
	for _, owner := range []string{"team-a", "team-b", "team-c"} {
		const file = "apps/reports.yaml"
		commit := w.git.Commit(t, map[string]string{file: strings.Replace(w.git.Files(t)[file], "team-data", owner, 1)})
		o := w.git.Objects(t, commit)
		o.Commits = o.Commits[:2]
		files := map[string][]byte{}
		for name, text := range w.git.Files(t) {
			files[name] = []byte(strings.Replace(text, "owner: team-data\nhosts", "owner: "+owner+"\nhosts", 1))
		}
		if _, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: files, Commit: commit, Signer: "carol", After: w.commit, Proof: o}); err != nil {
			t.Fatal(err)
		}
		w.commit = commit
	}
	snap, err := snapshotOf(t.Context(), w.Source(), []string{"reports"})
	if err != nil {
		t.Fatal(err)
	}
	p := snap.Resources[1].GetProof()
	read, err := w.git.Trust(t).Read(p.GetCommit(), proof.Objects{Commits: p.GetCommits(), Trees: p.GetTrees(), Blobs: p.GetBlobs()})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.GetCommits()) != 4 || !read.Descends(first) {
		t.Errorf("%d commits are shown, down to the first one: %v", len(p.GetCommits()), read.Descends(first))
	}
}

// TestSignedStepsThatBecomeUnsigned: a request waits for signatures and policy drops
// them: it is asked again, not let through.
func TestSignedStepsThatBecomeUnsigned(t *testing.T) {
	w := newSignedWorld(t)
	w.put(malloryToo(w))
	r, offer := w.pending()
	if _, err := w.ApproveSigned(t.Context(), w.in(bob), r.ID, r.OfferDigest, "", w.git.SignSSH(t, "bob", offer)); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	const file = "entitlements/reports/read.yaml"
	w.put(map[string]string{file: strings.Replace(malloryToo(w)[file], "  signed: true\n", "", 1)})
	got, err := w.ApproveSigned(t.Context(), w.in("user:idp:mallory"), r.ID, r.OfferDigest, "", w.git.SignSSH(t, "mallory", offer))
	if err != nil {
		t.Fatal(err)
	}
	if got.State != access.Denied {
		t.Errorf("the request is %s", got.State)
	}
}
