package console

import (
	"net/http"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// recent is how many decided requests stand on the first page.
const recent = 8

// homeView is the first page.
type homeView struct {
	Grants  []grantCard
	Waiting []requestCard // for the reader's approval
	// Stale says that the reader's groups are too old to tell what waits for them.
	Stale    string // where to log in again; "" if they are not
	Pending  []requestCard
	Requests []requestCard
}

// grantCard is a grant in a list.
type grantCard struct {
	ID, Entitlement, App, Class, State string
	Mine                               bool
	Holder                             string
	Life                               life
}

// life is how much of a grant is over.
type life struct {
	Live       bool
	Left       string
	Begins     when
	Ends       when
	Gone, Full int64 // seconds
}

func lifeOf(g grant.Grant, now time.Time) life {
	state, ends := g.StateAt(now), g.EndsAt()
	l := life{
		Live: state == grant.Active || state == grant.Scheduled, Begins: at(g.NotBefore, now), Ends: at(ends, now),
		Left: rough(ends.Sub(now)), Full: int64(g.NotAfter.Sub(g.NotBefore) / time.Second),
	}
	l.Gone = min(max(int64(now.Sub(g.NotBefore)/time.Second), 0), l.Full)
	return l
}

func cardOf(g access.GrantView, v *visit) grantCard {
	return grantCard{
		ID: g.ID.String(), Entitlement: g.Entitlement, App: g.Scope.App, Class: g.Class.String(), State: string(g.State),
		Mine: g.Principal == v.Principal, Holder: g.Shown, Life: lifeOf(g.Grant, g.Now),
	}
}

// requestCard is a request in a list.
type requestCard struct {
	ID, Entitlement, App, State, By string
	Duration                        string
	Asked, DecideBy                 when
	Left                            string // until it must be decided, "" if nobody waits
	Why                             string // of one that was not granted
	Summary                         string // what it is for, for an approver
	Class                           string
}

func requestCardOf(r access.Request, now time.Time) requestCard {
	out := requestCard{
		ID: r.ID.String(), Entitlement: r.Entitlement, App: r.App, State: string(r.State), Asked: at(r.CreatedAt, now), DecideBy: at(r.DecideBy, now),
	}
	if r.Duration > 0 {
		out.Duration = long(r.Duration)
	}
	if r.State == access.Pending {
		out.Left = rough(r.DecideBy.Sub(now))
	}
	if r.State == access.Denied || r.State == access.Expired {
		out.Why = sentence(r.Sentence)
	}
	return out
}

func (c *Console) home(w http.ResponseWriter, r *http.Request, v *visit) error {
	ctx := r.Context()
	var view homeView
	now := c.c.Now()
	grants, err := c.service.Grants(ctx, v.Caller, access.ListGrants{Live: true})
	if err != nil {
		return err
	}
	slices.SortStableFunc(grants, func(a, b access.GrantView) int { return a.EndsAt().Compare(b.EndsAt()) })
	for _, g := range grants { // what ends first, first
		now = g.Now
		view.Grants = append(view.Grants, cardOf(g, v))
	}
	if view.Waiting, err = c.waitingFor(r, v); err != nil {
		if access.CodeOf(err) != access.CodeLoginAgain {
			return err
		}
		view.Stale = loginURL(r)
	}
	pending, err := c.service.Requests(ctx, v.Caller, access.ListRequests{State: access.Pending})
	if err != nil {
		return err
	}
	for _, q := range pending {
		view.Pending = append(view.Pending, requestCardOf(q, now))
	}
	newest, err := c.service.Requests(ctx, v.Caller, access.ListRequests{Limit: recent + len(pending)})
	if err != nil {
		return err
	}
	for _, q := range newest {
		if q.State != access.Pending && len(view.Requests) < recent {
			view.Requests = append(view.Requests, requestCardOf(q, now))
		}
	}
	return c.render(w, r, http.StatusOK, "home", page{Title: "Your access", Section: "home", Who: v, Now: now, Live: true, Poll: 60, Body: view})
}

// waitingFor lists what waits for the reader's approval, from the Offers.
func (c *Console) waitingFor(r *http.Request, v *visit) ([]requestCard, error) {
	list, err := c.service.Waiting(r.Context(), v.Caller)
	if err != nil {
		return nil, err
	}
	var out []requestCard
	for _, q := range list {
		card := requestCardOf(q.Request, q.Now)
		card.By = q.Shown[q.Requester]
		if o, err := readOffer(q); err == nil {
			card.By, card.Summary, card.Class, card.Duration = o.Requester.Name, o.Reason, o.Class, o.Duration
		}
		out = append(out, card)
	}
	return out, nil
}

func (c *Console) waiting(w http.ResponseWriter, r *http.Request, v *visit) error {
	list, err := c.waitingFor(r, v)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "waiting", page{Title: "Waiting for you", Section: "waiting", Who: v, Live: true, Poll: 30, Body: list})
}
