package console

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// grantView is the page of one grant.
type grantView struct {
	grantCard
	Request    string
	Holding    party
	Params     []pair
	Operations []operationView
	MayFinish  bool
	MayRevoke  bool
	EndedBy    string // in words, "" while it lives
	Ending     *endingView
}

// Many reports whether the operations are folded up at first.
func (g grantView) Many() bool { return len(g.Operations) > fewOperations }

// endingView is how the end of a grant is taken by the gateways.
type endingView struct {
	Done  bool
	Waits []waitView
}

type waitView struct {
	Instance    string
	State       string // acked, closed or waiting
	At          when   // when it acknowledged, or is closed whatever it says
	LastAllowed when
	LastAction  string
	StreamsCut  uint32
}

func (c *Console) showGrant(w http.ResponseWriter, r *http.Request, v *visit) error {
	return c.grantPage(w, r, v, http.StatusOK, nil)
}

func (c *Console) grantPage(w http.ResponseWriter, r *http.Request, v *visit, status int, n *notice) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	g, err := c.service.ShowGrant(r.Context(), v.Caller, id)
	if err != nil {
		return err
	}
	view := grantView{
		grantCard: cardOf(g, v), Request: g.Request.String(), Holding: named(g.Shown, g.Principal.String(), ""), Operations: scopeView(g.Scope),
	}
	for _, name := range slices.Sorted(maps.Keys(g.Params)) {
		view.Params = append(view.Params, pair{name, g.Params[name]})
	}
	view.MayFinish = view.Life.Live && view.Mine
	view.MayRevoke = view.Life.Live && !view.Mine && v.Security
	if !view.Life.Live {
		view.EndedBy = endWords(g.Grant)
	}
	if g.Ending != nil {
		view.Ending = endingOf(*g.Ending)
	}
	return c.render(w, r, status, "grant", page{
		Title: "Access to " + g.Entitlement, Who: v, Now: g.Now, Notice: n, Live: true, Every: every(view.Ending), Body: view,
	})
}

// every has the page of an end that is under way fetched often: most
// acknowledgements ring no bell.
func every(e *endingView) int {
	if e != nil && !e.Done {
		return 2
	}
	return 0
}

// endWords says how a grant came to its end.
func endWords(g grant.Grant) string {
	switch {
	case g.EndedEarly == grant.Idle:
		return "it was not used"
	case g.EndedEarly != "" && g.EndedEarly != grant.Revoked:
		return strings.ToLower(g.EndedEarly.Info().Title[:1]) + g.EndedEarly.Info().Title[1:]
	case !g.Revoked.IsZero():
		return "it was revoked"
	case !g.Finished.IsZero():
		return "its holder finished it"
	default:
		return "its time was over"
	}
}

func endingOf(v access.RevocationView) *endingView {
	out := &endingView{Done: v.Done}
	for _, wait := range v.Waits {
		one := waitView{Instance: wait.Instance.String(), State: wait.Done(v.Passed), At: precise(wait.Until), LastAction: wait.LastAction, StreamsCut: wait.StreamsCut}
		switch one.State {
		case "":
			one.State = "waiting"
		case "acked":
			one.At = precise(wait.AckedAt)
		}
		if !wait.LastAllowed.IsZero() {
			one.LastAllowed = precise(wait.LastAllowed)
		}
		out.Waits = append(out.Waits, one)
	}
	return out
}

func (c *Console) finish(w http.ResponseWriter, r *http.Request, v *visit, _ form) error {
	return c.ending(w, r, v, func(id grant.GrantID) error {
		_, err := c.service.Finish(r.Context(), v.Caller, id)
		return err
	})
}

func (c *Console) revoke(w http.ResponseWriter, r *http.Request, v *visit, f form) error {
	return c.ending(w, r, v, func(id grant.GrantID) error {
		_, err := c.service.Revoke(r.Context(), v.Caller, id, f["reason"])
		return err
	})
}

// ending ends a grant and shows it. Ending it again changes nothing and says so.
func (c *Console) ending(w http.ResponseWriter, r *http.Request, v *visit, f func(grant.GrantID) error) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	switch err := f(id); access.CodeOf(err) {
	case "":
		return redirect(w, "/grants/"+id.String())
	case access.CodeEnded:
		return c.grantPage(w, r, v, http.StatusConflict, &notice{"info", "This access has ended already", "Nothing was done twice."})
	case access.CodeInvalid:
		return c.grantPage(w, r, v, http.StatusUnprocessableEntity, &notice{"bad", "Not revoked", sentence(access.FaultOf(err).Sentence)})
	default:
		return err
	}
}
