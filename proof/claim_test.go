package proof_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
	"github.com/mayflyproxy/mayfly/scope"
)

func read(t *testing.T, w *prooftest.World) *proof.Policy {
	t.Helper()
	commit := w.Tip(t)
	p, err := w.Trust(t).Read(commit, w.Objects(t, commit))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refused fails unless err says want; "" wants no error.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("want an error with %q, got %v", want, err)
	}
}

// TestP6_AGrantWithItsProof: the proof of a good grant counts, and what it names is
// that grant's alone.
func TestP6_AGrantWithItsProof(t *testing.T) {
	w := prooftest.New(t)
	c := w.Claim(t)
	got, err := read(t, w).Check(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := w.Now.Add(20 * time.Minute); !got.StartBy.Equal(want) || !got.Until.Equal(want.Add(30*time.Minute)) {
		t.Errorf("start by %s, until %s", got.StartBy, got.Until)
	}
}

// TestNobodyMintsAGrant: whoever writes the database, or all of mayflyd, changes one
// thing of a proven grant; none of it counts. Signatures are those that were given.
func TestNobodyMintsAGrant(t *testing.T) {
	w := prooftest.New(t)
	p, good := read(t, w), w.Claim(t)
	mallory, err := identity.ParsePrincipal(prooftest.Account(prooftest.Stranger))
	if err != nil {
		t.Fatal(err)
	}
	reoffer := func(c *proof.Claim, change func(map[string]any)) { // the Offer changed in the database, with a leaf for it
		o := w.Offer(t, c.Grant)
		change(o)
		c.Offer = prooftest.Encode(t, o)
		c.Leaf = prooftest.Encode(t, prooftest.Leaf(c.Grant, c.Offer, c.Index))
	}
	releaf := func(c *proof.Claim) { c.Leaf = prooftest.Encode(t, prooftest.Leaf(c.Grant, c.Offer, c.Index)) }
	for _, a := range []struct {
		name   string
		change func(*proof.Claim)
		want   string
	}{
		{"nothing", func(*proof.Claim) {}, ""},
		{"no proof at all", func(c *proof.Claim) { c.Offer, c.Approvals, c.Leaf = nil, nil, nil }, "not canonical"},
		{"no approval", func(c *proof.Claim) { c.Approvals = nil }, "0 of 2 approvals"},
		{"one of two", func(c *proof.Claim) { c.Approvals = c.Approvals[:1] }, "1 of 2 approvals"},
		{"the same person twice", func(c *proof.Claim) { c.Approvals[1] = c.Approvals[0] }, "approves twice"},
		{"one person under two names", func(c *proof.Claim) { c.Approvals[1].Signature = c.Approvals[0].Signature }, "another's key"},
		{"an approval without its signature", func(c *proof.Claim) { c.Approvals[1].Signature = proof.Signature{} }, "not signed"},
		{"approved by somebody not asked", func(c *proof.Claim) {
			c.Approvals[1] = proof.Approval{Person: prooftest.Stranger, Signature: w.SignSSH(t, prooftest.Stranger, c.Offer)}
		}, "not among those who approve"},
		{"approved by nobody", func(c *proof.Claim) { c.Approvals[1].Person = "trudy" }, "none of the persons under people"},
		{"approved by the requester", func(c *proof.Claim) {
			c.Approvals[1] = proof.Approval{Person: prooftest.Requester, Signature: w.SignSSH(t, prooftest.Requester, c.Offer)}
		}, "their own access"},
		{"another step", func(c *proof.Claim) { c.Approvals[1].Step = 1 }, "not among those who approve"},
		{"a step below the first", func(c *proof.Claim) { c.Approvals[1].Step = -1 }, "not among those who approve"},
		{"a signature of a commit", func(c *proof.Claim) {
			c.Approvals[0].Signature = w.SignSSHFor(t, prooftest.Approver, proof.NamespaceGit, c.Offer)
		}, "made for something else"},
		{"a signature of another offer", func(c *proof.Claim) { c.Approvals[0].Signature = w.SignSSH(t, prooftest.Approver, []byte("{}")) }, "does not hold"},
		{"two signatures in one", func(c *proof.Claim) { c.Approvals[0].Signature.Passkey = c.Approvals[1].Signature.Passkey }, "two signatures"},

		{"a longer grant", func(c *proof.Claim) { c.Grant.NotAfter = c.Grant.NotAfter.Add(time.Second); releaf(c) }, "the offer is for 30m"},
		{"a later grant", func(c *proof.Claim) {
			c.Grant.NotBefore, c.Grant.NotAfter = c.Grant.NotBefore.Add(21*time.Minute), c.Grant.NotAfter.Add(21*time.Minute)
			releaf(c)
		}, "start_by"},
		{"another holder", func(c *proof.Claim) { c.Grant.Principal = mallory }, "another principal"},
		{"another holder in the offer", func(c *proof.Claim) {
			c.Grant.Principal = mallory
			reoffer(c, func(o map[string]any) {})
		}, "does not hold"},
		{"another request", func(c *proof.Claim) { c.Grant.Request = w.Grant(t).Request; releaf(c) }, "another request"},
		{"another grant", func(c *proof.Claim) { c.Grant.ID = w.Grant(t).ID }, "the record says something else"},
		{"another entitlement", func(c *proof.Claim) { c.Grant.Entitlement = "reports/rule"; releaf(c) }, "another entitlement"},
		{"another app", func(c *proof.Claim) { c.Grant.Scope.App = "stripe" }, "another app"},
		{"other parameters", func(c *proof.Claim) { c.Params["folder"] = "/monthly" }, "other parameters"},
		{"another class", func(c *proof.Claim) { c.Grant.Class = scope.ClassWrite }, "another class"},
		{"another catalogue", func(c *proof.Claim) { c.Catalogue = strings.Repeat("0", 64) }, "another catalogue"},
		{"an operation more", func(c *proof.Claim) {
			c.Grant.Scope.Rules = append(c.Grant.Scope.Canonical().Rules, scope.Rule{Operation: "http.post"})
		}, "other operations"},
		{"a limit less", func(c *proof.Claim) {
			c.Grant.Scope = c.Grant.Scope.Canonical()
			c.Grant.Scope.Rules[0].Where = nil
		}, "other operations"},
		{"a wider limit", func(c *proof.Claim) {
			c.Grant.Scope = c.Grant.Scope.Canonical()
			c.Grant.Scope.Rules[0].Where[0].Values = []scope.Value{scope.Path("/")}
		}, "another limit"},

		{"no leaf", func(c *proof.Claim) { c.Leaf = nil }, "no grant.created"},
		{"a leaf at another place", func(c *proof.Claim) { c.Index++ }, "no grant.created"},
		{"a leaf that two readers read as two", func(c *proof.Claim) {
			c.Leaf = bytes.Replace(c.Leaf, []byte(`"grant":`), []byte(`"Grant":"x","grant":`), 1)
		}, "canonical"},
		{"a leaf with a name twice", func(c *proof.Claim) {
			c.Leaf = bytes.Replace(c.Leaf, []byte(`"grant":`), []byte(`"grant":"x","grant":`), 1)
		}, "canonical"},
		{"a leaf of another type", func(c *proof.Claim) { c.Leaf = bytes.Replace(c.Leaf, []byte("grant.created"), []byte("login"), 1) }, "no grant.created"},
		{"a leaf of another end", func(c *proof.Claim) {
			c.Leaf = bytes.Replace(c.Leaf, []byte(`"not_after":"2026-11-01T10:30`), []byte(`"not_after":"2026-11-01T10:29`), 1)
		}, "the record says something else"},
		{"a leaf of another offer", func(c *proof.Claim) {
			c.Leaf = prooftest.Encode(t, prooftest.Leaf(c.Grant, []byte("{}"), c.Index))
		}, "the record says something else"},
		{"an offer with a space", func(c *proof.Claim) { c.Offer = append(c.Offer, ' ') }, "not canonical"},
	} {
		t.Run(a.name, func(t *testing.T) {
			c := good
			c.Approvals = append([]proof.Approval{}, good.Approvals...)
			c.Params, c.Leaf, c.Offer = maps.Clone(good.Params), bytes.Clone(good.Leaf), bytes.Clone(good.Offer)
			a.change(&c)
			_, err := p.Check(c)
			refused(t, err, a.want)
		})
	}
}

// TestApproversCannotBeMisled: the Offer itself is made to say something else than
// policy allows or than the grant is, and honest approvers sign it as it is shown.
func TestApproversCannotBeMisled(t *testing.T) {
	w := prooftest.New(t)
	p := read(t, w)
	first := func(o map[string]any, key string, v any) {
		o["operations"].([]any)[0].(map[string]any)["where"].([]any)[0].(map[string]any)[key] = v
	}
	for _, a := range []struct {
		name  string
		grant func(*grant.Grant)
		offer func(map[string]any)
		want  string
	}{
		{"as it is", nil, nil, ""},
		{"words that mean less", nil, func(o map[string]any) { first(o, "words", "path at or below /daily/summary") }, "another limit"},
		{"a value that means less", nil, func(o map[string]any) { first(o, "value", "/daily/summary") }, "another limit"},
		{"another comparison", nil, func(o map[string]any) { first(o, "op", "is") }, "another limit"},
		{"another unit", nil, func(o map[string]any) { first(o, "unit", "usd") }, "another limit"},
		{"a list of one", nil, func(o map[string]any) { first(o, "value", []any{"/daily"}) }, "another limit"},
		{"an operation less", nil, func(o map[string]any) { o["operations"] = o["operations"].([]any)[1:] }, "other operations"},
		{"longer than policy allows", func(g *grant.Grant) { g.NotAfter = g.NotBefore.Add(2 * time.Hour) }, nil, "reports/read allows 1h"},
		{"a day and a second", func(g *grant.Grant) { g.NotAfter = g.NotBefore.Add(24*time.Hour + time.Second) }, nil, "an offer for"},
		{"an operation that policy has not", func(g *grant.Grant) { g.Scope.Rules[2].Operation = "http.post" }, nil, "allows something else"},
		{"a limit that policy has not", func(g *grant.Grant) { g.Scope.Rules[1].Where = []scope.Constraint{} }, nil, "allows something else"},
		{"a class that policy has not", func(g *grant.Grant) { g.Class = scope.ClassWrite }, nil, "is of class"},
		{"a parameter beyond its pattern", func(g *grant.Grant) {
			for i := range 2 {
				g.Scope.Rules[i].Where = []scope.Constraint{{Attribute: "path", Comparison: scope.Under, Values: []scope.Value{scope.Path("/")}}}
			}
		}, func(o map[string]any) { o["params"] = map[string]any{"folder": "/"} }, "does not match its pattern"},
		{"a parameter that policy has not", nil, func(o map[string]any) { o["params"] = map[string]any{"folder": "/daily", "x": "1"} }, "has no parameter"},
		{"no parameter", nil, func(o map[string]any) { o["params"] = map[string]any{} }, "is missing"},
		{"an entitlement by rule", func(g *grant.Grant) { g.Entitlement = "reports/rule" }, nil, "not approved by signatures"},
		{"an entitlement that is not shown", func(g *grant.Grant) { g.Entitlement = "reports/all" }, nil, "does not show the entitlement"},
		{"a policy that is no ancestor", nil, func(o map[string]any) {
			o["policy"] = map[string]any{"commit": strings.Repeat("a", 40), "digest": ""}
		}, "not shown to come after"},
		{"a version to come", nil, func(o map[string]any) { o["v"] = 2 }, "version 2"},
		{"a member to come", nil, func(o map[string]any) { o["budget"] = "5" }, "unknown field"},
		{"a member that only some readers see", nil, func(o map[string]any) {
			o["operation\u017f"] = o["operations"]
			o["operations"] = []any{}
		}, "a member named"},
		{"a member in another case", nil, func(o map[string]any) { o["App"] = "another" }, "a member named"},
		{"no end of starting", nil, func(o map[string]any) { o["start_by"] = "" }, "start_by"},
		{"an agent of an approver", nil, func(o map[string]any) {
			o["act"] = []any{map[string]any{"principal": prooftest.Account(prooftest.Approver), "person": "", "shown": ""}}
		}, "their own access"},
		{"asked by an approver for another", nil, func(o map[string]any) {
			o["requester"] = map[string]any{"principal": prooftest.Account(prooftest.Second), "person": "", "shown": ""}
		}, "their own access"},
		{"asked by nobody", nil, func(o map[string]any) {
			o["requester"] = map[string]any{"principal": "", "person": "", "shown": ""}
		}, "names nobody"},
	} {
		t.Run(a.name, func(t *testing.T) {
			g := w.Grant(t)
			if a.grant != nil {
				a.grant(&g)
			}
			o := w.Offer(t, g)
			if a.offer != nil {
				a.offer(o)
			}
			_, err := p.Check(w.ClaimOf(t, g, prooftest.Encode(t, o)))
			refused(t, err, a.want)
		})
	}
}

// TestAnotherAccountOfTheRequester: alice asks by one account, and approves by her
// key: P6 holds by the signed people:, whatever the Offer calls her.
func TestAnotherAccountOfTheRequester(t *testing.T) {
	w := prooftest.New(t)
	g := w.Grant(t)
	var err error
	if g.Principal, err = identity.ParsePrincipal("user:idp:alice-admin"); err != nil {
		t.Fatal(err)
	}
	o := w.Offer(t, g)
	for _, key := range []string{"requester", "beneficiary"} {
		o[key] = map[string]any{"principal": g.Principal.String(), "person": "somebody-else", "shown": "Alan"}
	}
	c := w.ClaimOf(t, g, prooftest.Encode(t, o))
	c.Approvals[1] = proof.Approval{Person: prooftest.Requester, Signature: w.SignSSH(t, prooftest.Requester, c.Offer)}
	_, err = read(t, w).Check(c)
	refused(t, err, "their own access")
}
