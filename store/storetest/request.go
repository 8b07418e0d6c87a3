package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

func testPolicies(t *testing.T, store access.Store) {
	first := access.StoredPolicy{Digest: "d1", Commit: "c1", Signer: "alice",
		Files: map[string][]byte{"mayfly.yaml": []byte("a"), "apps/stripe.yaml": []byte("b"), "empty": {}}, Applied: epoch(), Manifest: []byte("m1")}
	second := access.StoredPolicy{Digest: "d2", Commit: "c2", Files: map[string][]byte{"mayfly.yaml": []byte("z")}, Applied: epoch().Add(time.Hour)}
	current := func(ctx context.Context, tx access.Tx) (access.StoredPolicy, error) {
		return tx.Policies().Current(ctx)
	}
	byDigest := func(d string) func(context.Context, access.Tx) (access.StoredPolicy, error) {
		return func(ctx context.Context, tx access.Tx) (access.StoredPolicy, error) {
			return tx.Policies().ByDigest(ctx, d)
		}
	}
	apply := func(p access.StoredPolicy) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().Apply(ctx, p) })
	}
	missing(t, store, current)
	missing(t, store, byDigest("d1"))
	apply(first)
	apply(second)
	same(t, "current", get(t, store, current), second)
	same(t, "the one before", get(t, store, byDigest("d1")), first)
	again := first
	again.Commit, again.Applied = "c3", epoch().Add(2*time.Hour) // a revert: the same files under a new commit
	rewritten := again
	rewritten.Manifest = []byte("m2") // what decisions were made from stays as it was
	apply(rewritten)
	same(t, "back in force", get(t, store, current), again)
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		digest, commit, err := tx.Policies().Head(ctx)
		if digest != "d1" || commit != "c3" {
			t.Errorf("head is %s at %s", digest, commit)
		}
		return err
	})
}

func getRequest(id grant.RequestID) func(context.Context, access.Tx) (access.Request, error) {
	return func(ctx context.Context, tx access.Tx) (access.Request, error) { return tx.Requests().Get(ctx, id) }
}

func testRequests(t *testing.T, store access.Store) {
	s := samples(t)
	r := s.request()
	missing(t, store, getRequest(r.ID))
	s.keep(store, []access.Request{r}, nil)
	same(t, "request", get(t, store, getRequest(r.ID)), r)
	offer := func(id grant.OfferID) func(context.Context, access.Tx) ([]byte, error) {
		return func(ctx context.Context, tx access.Tx) ([]byte, error) { return tx.Requests().Offer(ctx, id) }
	}
	same(t, "offer", get(t, store, offer(r.Offer)), []byte("offer"))
	missing(t, store, offer(s.mint.NewOfferID(epoch())))

	bare := access.Request{ID: s.mint.NewRequestID(epoch()), Revision: 1, Requester: s.bob(), Beneficiary: s.bob(), State: access.Denied}
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Requests().Insert(ctx, bare, nil) })
	got := get(t, store, getRequest(bare.ID))
	if len(got.Params) != 0 || len(got.Steps) != 0 || len(got.Inputs) != 0 || !got.DecideBy.IsZero() || !got.Grant.IsZero() || got.Reason != "" {
		t.Errorf("a request without optional fields came back as %+v", got)
	}

	r.State, r.Sentence, r.Reason, r.Params = access.Approved, "approved by bob", "other", map[string]string{"charge": "ch_2"}
	replace := func(r access.Request) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Requests().Update(ctx, r) }
	}
	update(t, store, replace(r))
	same(t, "updated request", get(t, store, getRequest(r.ID)), r)
	refused(t, store, access.ErrNotFound, replace(s.request()))
	back := r
	back.State = access.Pending
	refused(t, store, nil, replace(back)) // it moves only from pending
	refused(t, store, access.ErrExists, func(ctx context.Context, tx access.Tx) error { return tx.Requests().Insert(ctx, r, nil) })
}

func testRequestLists(t *testing.T, store access.Store) {
	s := samples(t)
	var all []access.Request // newest first
	for i := range 7 {
		r := s.request()
		if i%2 == 1 {
			r.Requester, r.App = s.bob(), "wiki"
		}
		if i >= 5 {
			r.State = access.Withdrawn
		}
		all = append([]access.Request{r}, all...)
	}
	s.keep(store, all, nil)
	for name, c := range map[string]struct {
		filter access.RequestFilter
		want   []int
	}{
		"all":           {access.RequestFilter{}, []int{0, 1, 2, 3, 4, 5, 6}},
		"first page":    {access.RequestFilter{Limit: 3}, []int{0, 1, 2}},
		"second page":   {access.RequestFilter{Limit: 3, Before: all[2].ID}, []int{3, 4, 5}},
		"last page":     {access.RequestFilter{Limit: 3, Before: all[5].ID}, []int{6}},
		"beyond":        {access.RequestFilter{Limit: 3, Before: all[6].ID}, nil},
		"by requester":  {access.RequestFilter{Requester: s.bob()}, []int{1, 3, 5}},
		"by app":        {access.RequestFilter{App: "stripe"}, []int{0, 2, 4, 6}},
		"by state":      {access.RequestFilter{State: access.Withdrawn}, []int{0, 1}},
		"by everything": {access.RequestFilter{Requester: s.bob(), App: "wiki", State: access.Pending, Before: all[3].ID, Limit: 9}, []int{5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Request, error) {
				return tx.Requests().List(ctx, c.filter)
			})
			var want []access.Request
			for _, i := range c.want {
				want = append(want, all[i])
			}
			if len(got)+len(want) > 0 {
				same(t, "requests", got, want)
			}
		})
	}
	count := func(p identity.Principal) int {
		return get(t, store, func(ctx context.Context, tx access.Tx) (int, error) { return tx.Requests().CountPending(ctx, p) })
	}
	if w, b := count(s.refunder()), count(s.bob()); w != 3 || b != 2 {
		t.Errorf("pending: %d of the workload, %d of bob; want 3 and 2", w, b)
	}
}

func testOverdue(t *testing.T, store access.Store) {
	s := samples(t)
	due := func(after time.Duration, state access.RequestState) access.Request {
		r := s.request()
		r.DecideBy, r.State = epoch().Add(after), state
		return r
	}
	late, later, next, decided := due(0, access.Pending), due(-time.Hour, access.Pending), due(time.Microsecond, access.Pending), due(-time.Hour, access.Approved)
	never := s.request()
	never.DecideBy = time.Time{}
	s.keep(store, []access.Request{late, later, next, decided, never}, nil)
	overdue := func(limit int) []access.Request {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Request, error) {
			return tx.Requests().Overdue(ctx, epoch(), limit)
		})
	}
	same(t, "overdue", overdue(10), []access.Request{later, late})
	same(t, "the first overdue", overdue(1), []access.Request{later})
}

func testApprovals(t *testing.T, store access.Store) {
	s := samples(t)
	r := s.request()
	s.keep(store, []access.Request{r}, nil)
	first := s.approval(r)
	second := s.approval(r)
	second.Approver, second.Person, second.Approves, second.Reason = s.principal("user:idp:carol"), identity.PersonOf(s.principal("user:idp:carol")), false, ""
	second.At = first.At.Add(time.Second)
	narrowed := s.approval(r)
	narrowed.Revision, narrowed.At = 2, second.At.Add(time.Second)
	add := func(a access.Approval) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Approvals().Insert(ctx, a) }
	}
	for _, a := range []access.Approval{first, second, narrowed} {
		update(t, store, add(a))
	}
	same := func(want []access.Approval) {
		got := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Approval, error) {
			return tx.Approvals().List(ctx, r.ID)
		})
		same(t, "approvals", got, want)
	}
	same([]access.Approval{first, second, narrowed})
	turned := first // the same person, another account, the opposite word
	turned.ID, turned.Approver, turned.Approves = s.mint.NewApprovalID(epoch()), s.principal("user:idp:bob-too"), false
	refused(t, store, access.ErrExists, add(turned))
	orphan := s.approval(s.request())
	refused(t, store, nil, add(orphan))
	same([]access.Approval{first, second, narrowed})
	none := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Approval, error) {
		return tx.Approvals().List(ctx, s.request().ID)
	})
	if len(none) != 0 {
		t.Errorf("approvals of an unknown request: %v", none)
	}
}

func testKeys(t *testing.T, store access.Store) {
	s := samples(t)
	lookup := func(p identity.Principal, route, key string, after time.Duration) func(context.Context, access.Tx) ([]byte, error) {
		return func(ctx context.Context, tx access.Tx) ([]byte, error) {
			return tx.Keys().Get(ctx, p, route, key, tx.Now().Add(after))
		}
	}
	put := func(body string, ends time.Duration) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error {
			return tx.Keys().Put(ctx, s.bob(), "POST /requests", "k1", []byte(body), tx.Now().Add(ends))
		}
	}
	missing(t, store, lookup(s.bob(), "POST /requests", "k1", 0))
	update(t, store, put("answer", time.Hour))
	same(t, "answer", get(t, store, lookup(s.bob(), "POST /requests", "k1", 0)), []byte("answer"))
	missing(t, store, lookup(s.refunder(), "POST /requests", "k1", 0))
	missing(t, store, lookup(s.bob(), "POST /approvals", "k1", 0))
	missing(t, store, lookup(s.bob(), "POST /requests", "k1", 2*time.Hour))
	refused(t, store, access.ErrExists, put("another", time.Hour))
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Keys().Put(ctx, s.bob(), "r", "old", []byte("x"), tx.Now()), // ended at once
			tx.Keys().Put(ctx, s.bob(), "r", "old", []byte("y"), tx.Now().Add(time.Hour)))
	})
	same(t, "an ended answer's key is free", get(t, store, lookup(s.bob(), "r", "old", 0)), []byte("y"))
}

func testOutbox(t *testing.T, store access.Store) {
	event := func(id string) access.Event { return access.Event{Kind: "request.pending", ID: id, At: epoch()} }
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Outbox().Put(ctx, event("a")), tx.Outbox().Put(ctx, event("b")), tx.Outbox().Put(ctx, event("c")))
	})
	after := func(seq int64, limit int) []access.Event {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Event, error) {
			return tx.Outbox().After(ctx, seq, limit)
		})
	}
	all := after(0, 10)
	if len(all) != 3 || all[0].ID != "a" || all[2].ID != "c" || all[0].Seq >= all[1].Seq || all[1].Seq >= all[2].Seq || !all[0].At.Equal(epoch()) {
		t.Fatalf("events %+v", all)
	}
	same(t, "after the first, one", after(all[0].Seq, 1), all[1:2])
	if rest := after(all[2].Seq, 10); len(rest) != 0 {
		t.Errorf("after the last: %v", rest)
	}
}
