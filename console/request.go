package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// requestPageView is the page of one request.
type requestPageView struct {
	ID, State   string
	Revision    int
	Entitlement string // of one without an Offer
	App         string
	Asked       when
	Decided     when
	DecideBy    when
	Left        string
	Code        string
	Why         string
	Offer       *offerView // nil: policy denied it, or it cannot be shown
	Unreadable  string     // why the Offer cannot be shown
	Steps       []stepView
	Approvals   []approvalView
	Mine        bool
	MayDecide   bool
	Signed      bool // approved with a signature only
	Signer      signer
	MayWithdraw bool
	Grant       *grantCard
	Joint       []jointView // of a bundle: each of its grants
	Return      destination
	Go          bool // the reader may continue to Return
	Reason      string
}

// jointView is one grant of a bundle.
type jointView struct {
	ID, Entitlement, App, State string
	Ended                       string // why
	Where                       string // how far it has got; "" once it has ended
	Missing                     bool
}

func jointViews(list []access.Standing) []jointView {
	var out []jointView
	for _, s := range list {
		one := jointView{ID: s.ID.String(), Entitlement: s.Entitlement, App: s.Scope.App, State: string(s.State), Ended: string(s.EndedEarly)}
		switch live := s.State == grant.Active || s.State == grant.Scheduled; {
		case !live:
		case s.InForce && s.Held == 0:
			one.Where = "in force"
		case s.InForce:
			one.Where = "in force at " + strconv.Itoa(s.Held) + " of " + strconv.Itoa(s.Running) + " gateways"
		case s.Running == 0:
			one.Where, one.Missing = "not in force: no gateway of the app is running", true
		default:
			one.Where, one.Missing = "not in force yet at any gateway of the app", true
		}
		out = append(out, one)
	}
	return out
}

// approvalView is one person's word.
type approvalView struct {
	By       party
	Approves bool
	Step     int
	Reason   string
	At       when
}

func (c *Console) showRequest(w http.ResponseWriter, r *http.Request, v *visit) error {
	return c.requestPage(w, r, v, http.StatusOK, r.URL.Query().Get("return"), nil, "")
}

// requestPage shows the request of the path; reason is what was typed before.
func (c *Console) requestPage(w http.ResponseWriter, r *http.Request, v *visit, status int, back string, n *notice, reason string) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	q, err := c.service.ShowRequest(r.Context(), v.Caller, id)
	if err != nil {
		return err
	}
	to, err := c.destination(r.Context(), back)
	if err != nil {
		return err
	}
	view := requestPage(q, v, to)
	view.Reason = reason
	if view.MayDecide && view.Signed {
		if view.Signer, err = c.signer(r, v); err != nil {
			return err
		}
	}
	p := page{Title: requestTitle(view), Section: "requests", Who: v, Now: q.Now, Notice: n, Live: true, Hold: q.OfferDigest, Passkeys: view.Signer.IDs != "", Body: view}
	if q.State == access.Pending {
		p.Poll = 10
	}
	if view.Go {
		p.Continue = to.URL
	}
	return c.render(w, r, status, "request", p)
}

func requestTitle(v requestPageView) string {
	word := map[string]string{
		string(access.Pending): "waits for approval", string(access.Approved): "approved", string(access.Denied): "denied",
		string(access.Withdrawn): "withdrawn", string(access.Expired): "not decided in time",
	}[v.State]
	return v.Entitlement + ": " + word
}

func requestPage(q access.RequestView, v *visit, to destination) requestPageView {
	pending := q.State == access.Pending
	out := requestPageView{
		ID: q.ID.String(), State: string(q.State), Revision: q.Revision, Entitlement: q.Entitlement, App: q.App,
		Asked: at(q.CreatedAt, q.Now), Decided: at(q.DecidedAt, q.Now), DecideBy: at(q.DecideBy, q.Now), Code: q.Code,
		Steps: stepViews(q.Steps, q.Approvals, q.Revision, q.Step, pending), Mine: q.Requester == v.Principal, Return: to,
	}
	if pending {
		out.Left = rough(q.DecideBy.Sub(q.Now))
	}
	if q.State == access.Denied || q.State == access.Expired {
		out.Why = sentence(q.Sentence)
	}
	if len(q.OfferBytes) > 0 {
		o, err := readOffer(q)
		if err != nil {
			out.Unreadable = sentence(err.Error())
		} else {
			out.Offer = &o
		}
	}
	for _, a := range q.Approvals {
		out.Approvals = append(out.Approvals, approvalView{
			By: named(q.Shown[a.Approver], a.Approver.String(), personText(a.Person)), Approves: a.Approves, Step: a.Step + 1, Reason: a.Reason, At: at(a.At, q.Now),
		})
	}
	out.MayDecide = q.MayDecide && out.Offer != nil
	out.Signed = q.Step >= 0 && q.Step < len(q.Steps) && q.Steps[q.Step].Signed
	out.MayWithdraw = pending && out.Mine
	out.Joint = jointViews(q.Joint)
	if q.GrantNow != nil {
		card := cardOf(access.GrantView{Grant: *q.GrantNow, State: q.GrantNow.StateAt(q.Now), Now: q.Now}, v)
		out.Grant = &card
		out.Go = card.Mine && card.State == string(grant.Active) && to.URL != ""
	}
	return out
}

// decide takes an approver's word on the Offer that they were shown.
func (c *Console) decide(w http.ResponseWriter, r *http.Request, v *visit, f form) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	signature, err := f.signature()
	if err != nil {
		return err
	}
	switch f["verdict"] {
	case "approve":
		_, err = c.service.ApproveSigned(r.Context(), v.Caller, id, f["offer"], f["reason"], signature)
	case "deny":
		err = c.deny(r, v, id, f)
	default:
		return badForm("it says neither approve nor deny")
	}
	if err == nil {
		return redirect(w, "/requests/"+id.String())
	}
	n, status := c.undecided(r, v, id, err)
	if n == nil {
		return err
	}
	return c.requestPage(w, r, v, status, "", n, f["reason"])
}

// deny refuses only what was shown: the verb itself asks for no digest, and a no
// to something else would still not be what the approver meant.
func (c *Console) deny(r *http.Request, v *visit, id grant.RequestID, f form) error {
	q, err := c.service.ShowRequest(r.Context(), v.Caller, id)
	if err != nil {
		return err
	}
	if f["offer"] != q.OfferDigest {
		return &access.Fault{Code: access.CodeStaleOffer, Sentence: "the offer has changed since it was shown"}
	}
	_, err = c.service.Deny(r.Context(), v.Caller, id, f["reason"])
	return err
}

// undecided says why a word did not count, above the request as it now is; nil if
// that is for a page of its own.
func (c *Console) undecided(r *http.Request, v *visit, id grant.RequestID, err error) (*notice, int) {
	f := access.FaultOf(err)
	decided := &notice{"info", "You have decided already", "Your word counts once. Nothing was done twice."}
	switch f.Code {
	case access.CodeAlreadyDecided:
		return decided, f.Info().HTTP
	case access.CodeNotPending:
		q, err := c.service.ShowRequest(r.Context(), v.Caller, id)
		if err == nil && slices.ContainsFunc(q.Approvals, func(a access.Approval) bool { return a.Approver == v.Principal }) {
			return decided, f.Info().HTTP
		}
		return &notice{"info", "This request is not waiting any more", "Nothing was done. This is where it stands now."}, f.Info().HTTP
	case access.CodeStaleOffer:
		return &notice{"bad", "The offer has changed since you were shown it", "Nothing was decided. This is what is offered now: look at it again."}, f.Info().HTTP
	case access.CodeInvalid, access.CodeSelfApproval, access.CodeNotSigned:
		return &notice{"bad", "Nothing was decided", sentence(f.Sentence)}, f.Info().HTTP
	default:
		return nil, 0
	}
}

func (c *Console) withdraw(w http.ResponseWriter, r *http.Request, v *visit, f form) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	_, err := c.service.Withdraw(r.Context(), v.Caller, id)
	if access.CodeOf(err) == access.CodeNotPending {
		return c.requestPage(w, r, v, http.StatusConflict, f["return"], &notice{"info", "This request is not waiting any more", "There was nothing to withdraw. This is where it stands now."}, "")
	}
	if err != nil {
		return err
	}
	to, err := c.destination(r.Context(), f["return"])
	return errors.Join(err, redirect(w, withReturn("/requests/"+id.String(), to)))
}
