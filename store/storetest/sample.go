package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/scope"
)

// epoch is the instant that samples are made at.
func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC) }

// sampler makes values with all fields set, each with ids of its own.
type sampler struct {
	t    *testing.T
	mint *grant.Minter
}

func samples(t *testing.T) sampler { return sampler{t, grant.NewMinter()} }

func (s sampler) principal(text string) identity.Principal {
	p, err := identity.ParsePrincipal(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s sampler) person(text string) identity.Person {
	p, err := identity.ParsePerson(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s sampler) group(text string) identity.Group {
	g, err := identity.ParseGroup(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

func (s sampler) refunder() identity.Principal {
	return s.principal("spiffe://acme.example/ns/pay/sa/refunder")
}

func (s sampler) bob() identity.Principal { return s.principal("user:idp:bob") }

// request is a pending one.
func (s sampler) request() access.Request {
	at := epoch()
	return access.Request{
		ID: s.mint.NewRequestID(at), Revision: 1,
		Requester: s.refunder(), RequesterPerson: identity.PersonOf(s.refunder()), Beneficiary: s.refunder(),
		Entitlement: "stripe/refunds", App: "stripe",
		Params: map[string]string{"charge": "ch_1", "amount_max": "5000"}, Duration: 30 * time.Minute,
		Reason: "ticket <42> & a customer", State: access.Pending, Code: "code", Sentence: "waits for approval",
		PolicyCommit: "c0ffee", PolicyDigest: "d1", Engine: "engine 1", Catalogue: "cat1",
		Inputs:    []byte(`{"request":{}}`),
		Steps:     []access.Step{{Any: []string{"group:idp/payments-leads"}, Count: 1, Within: 20 * time.Minute}},
		StepBegan: at, Offer: s.mint.NewOfferID(at), OfferDigest: "0ff3", Grant: s.mint.NewGrantID(at),
		CreatedAt: at, DecideBy: at.Add(20 * time.Minute), DecidedAt: at.Add(time.Minute),
	}
}

func (s sampler) approval(r access.Request) access.Approval {
	return access.Approval{
		ID: s.mint.NewApprovalID(epoch()), Request: r.ID, Revision: r.Revision, Step: 0,
		Approver: s.bob(), Person: s.person("bob"), OfferDigest: r.OfferDigest, Approves: true,
		Reason: "looks right", Signature: proof.Signature{SSH: "armoured"}, At: epoch().Add(time.Second),
	}
}

// grant runs half an hour from epoch.
func (s sampler) grant() grant.Grant {
	return grant.Grant{
		ID: s.mint.NewGrantID(epoch()), Principal: s.refunder(), Pseudonym: "p_refunder",
		Entitlement: "stripe/refunds", Class: scope.ClassMoney,
		Scope: scope.Scope{App: "stripe", Rules: []scope.Rule{{Operation: "refunds.create", Where: []scope.Constraint{
			{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.MinorUnits(5000)}},
			{Attribute: "charge", Comparison: scope.Is, Values: []scope.Value{scope.Text("ch_<1>")}},
		}}}},
		NotBefore: epoch(), NotAfter: epoch().Add(30 * time.Minute),
	}
}

func (s sampler) session() access.Session {
	at := epoch()
	return access.Session{
		Kind: access.SessionAPI, Provider: "sid-1",
		ID: s.mint.NewSessionID(at), Hash: [32]byte{1, 2, 3}, Principal: s.bob(), Name: "Bob Example", Email: "bob@acme.example",
		Groups:   []identity.Group{s.group("group:idp/payments-leads"), s.group("group:idp/all")},
		GroupsAt: at, ACR: "urn:mfa", ProofKey: [32]byte{9}, AuthTime: at.Add(-time.Minute), CreatedAt: at, EndsAt: at.Add(time.Hour),
	}
}

// appSession is one on a host of an app, handed over from parent.
func (s sampler) appSession(parent access.Session, app string, hash byte) access.Session {
	v := parent
	v.ID, v.Kind, v.Hash, v.ProofKey = s.mint.NewSessionID(epoch()), access.SessionApp, [32]byte{hash}, [32]byte{}
	v.App, v.Host, v.Parent, v.Pseudonym = app, app+".acme.example", parent.ID, "p_bob"
	return v
}

func (s sampler) instance(run byte) access.Instance {
	at := epoch()
	return access.Instance{
		ID:   feed.Instance{Sidecar: "spiffe://acme.example/gw/sidecar", Run: fmt.Sprintf("%032x", run)},
		Apps: []string{"stripe", "wiki"}, Environment: "prod", Version: "0.1.0",
		Catalogues: map[string]string{"stripe": "cat1"}, JoinedAt: at, LastPong: at.Add(time.Second), PongPassed: time.Second, StaleAfter: 15 * time.Second,
		Acked: feed.Position{Epoch: 1, Revision: 3}, LastAllowed: at, LastAction: "act_1", Bounded: at.Add(time.Minute),
		Nack: "unknown field", NackAt: at,
	}
}

// leaf appends a record that is made of a word.
func (s sampler) leaf(ctx context.Context, tx access.Tx, word string) (int64, error) {
	return audit.Append(ctx, tx.Log(), audit.Record{
		ID: s.mint.NewRecordID(tx.Now()).String(), Type: audit.TypeAdministration, Time: tx.Now(), Node: "mayflyd",
		Body: map[string]any{"word": word},
	})
}

// keep inserts requests and grants.
func (s sampler) keep(store access.Store, requests []access.Request, grants []grant.Grant) {
	s.t.Helper()
	update(s.t, store, func(ctx context.Context, tx access.Tx) error {
		for _, r := range requests {
			if err := tx.Requests().Insert(ctx, r, []byte("offer")); err != nil {
				return err
			}
		}
		for _, g := range grants {
			if err := tx.Grants().Insert(ctx, g, nil, "cat1"); err != nil {
				return err
			}
		}
		return nil
	})
}
