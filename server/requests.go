package server

import (
	"encoding"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
)

// pathID reads the {id} of a path. What is no id is answered like what is not there.
func pathID(r *http.Request, into encoding.TextUnmarshaler) error {
	text := r.PathValue("id")
	if text == "" || into.UnmarshalText([]byte(text)) != nil {
		p := problem(http.StatusNotFound, string(access.CodeNotFound), access.CodeNotFound.Info().Title, "there is no "+quoted(text)+" that you can see")
		p.Next = "mayfly requests, or mayfly grants"
		return p
	}
	return nil
}

// idempotencyKey returns the caller's key, "" if there is none.
func idempotencyKey(r *http.Request) (string, error) {
	v := r.Header.Values(api.KeyHeader)
	if len(v) == 0 {
		return "", nil
	}
	if len(v) > 1 || v[0] == "" || len(v[0]) > 128 || strings.ContainsFunc(v[0], func(c rune) bool { return c < '!' || c > '~' }) {
		return "", problem(http.StatusBadRequest, codeBadQuery, "Not an idempotency key", api.KeyHeader+" must be one text of 1 to 128 visible ASCII characters")
	}
	return v[0], nil
}

func (s *Server) postRequest(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Ask
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	ask := access.Ask{Entitlement: in.Entitlement, Params: in.Params, Reason: in.Reason, IdempotencyKey: key}
	if in.Denial != "" {
		if ask, err = s.fillIn(r, c, in.Denial, ask); err != nil {
			return err
		}
	}
	if ask.Entitlement == "" {
		return unprocessable("name the entitlement to ask for", "mayfly entitlements")
	}
	if ask.Duration, err = duration(in.Duration); err != nil {
		return err
	}
	made, err := s.service.Request(r.Context(), c.Caller, ask)
	if err != nil {
		return err
	}
	return s.answerRequest(w, r, c, http.StatusCreated, made.ID)
}

// fillIn fills what an ask leaves open from a denial of the caller's.
func (s *Server) fillIn(r *http.Request, c caller, denial string, ask access.Ask) (access.Ask, error) {
	var id grant.DenialID
	if id.UnmarshalText([]byte(denial)) != nil {
		return ask, unprocessable("denial is not an id such as den_…", "")
	}
	found, err := s.service.FromDenial(r.Context(), c.Caller, id)
	if err != nil {
		return ask, err
	}
	if ask.Entitlement == "" {
		ask.Entitlement = found.Entitlement
	}
	if ask.Entitlement != found.Entitlement {
		return ask, nil
	}
	params := map[string]string{}
	for name, value := range found.Params {
		params[name] = value
	}
	for name, value := range ask.Params {
		params[name] = value
	}
	ask.Params = params
	return ask, nil
}

// duration reads a duration such as 30m or 1h30m; empty is none.
func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		p := unprocessable(quoted(s)+" is not a duration", "")
		p.Allowed = []string{"30m", "1h", "1h30m"}
		return 0, p
	}
	return d, nil
}

func unprocessable(detail, next string) *api.Problem {
	p := problem(http.StatusUnprocessableEntity, string(access.CodeInvalid), access.CodeInvalid.Info().Title, detail)
	p.Next = next
	return p
}

// answerRequest answers with a request as it now stands.
func (s *Server) answerRequest(w http.ResponseWriter, r *http.Request, c caller, status int, id grant.RequestID) error {
	v, err := s.service.ShowRequest(r.Context(), c.Caller, id)
	if err != nil {
		return err
	}
	out := requestOf(v)
	if out.Notices, err = s.service.PolicyNotices(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, status, out)
}

func (s *Server) showRequest(w http.ResponseWriter, r *http.Request, c caller) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	return s.answerRequest(w, r, c, http.StatusOK, id)
}

const maxPage = 200

func (s *Server) listRequests(w http.ResponseWriter, r *http.Request, c caller) error {
	q := readQuery(r.URL.RawQuery, "state", "app", "waiting", "everyone", "cursor", "limit")
	l := access.ListRequests{
		State: access.RequestState(q.choice("state", string(access.Pending), string(access.Approved), string(access.Denied), string(access.Withdrawn), string(access.Expired))),
		App:   q.text("app"), Everyone: q.flag("everyone"), Limit: q.number("limit", maxPage),
	}
	waiting := q.flag("waiting")
	q.parse("cursor", l.Before.UnmarshalText)
	if waiting && len(q.values) > 1 && q.err == nil {
		q.err = invalid("waiting goes with no other parameter")
	}
	if q.err != nil {
		return q.err
	}
	if waiting {
		return s.waiting(w, r, c)
	}
	if l.Limit == 0 {
		l.Limit = maxPage
	}
	page, err := s.service.Requests(r.Context(), c.Caller, l)
	if err != nil {
		return err
	}
	out := api.Page[api.Request]{Items: []api.Request{}}
	for _, one := range page {
		out.Items = append(out.Items, requestOf(access.RequestView{Request: one}))
	}
	if len(page) == l.Limit {
		out.Cursor = page[len(page)-1].ID.String()
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) waiting(w http.ResponseWriter, r *http.Request, c caller) error {
	list, err := s.service.Waiting(r.Context(), c.Caller)
	if err != nil {
		return err
	}
	out := api.Page[api.Request]{Items: []api.Request{}}
	for _, v := range list {
		out.Items = append(out.Items, requestOf(v))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) approve(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Verdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.OfferSHA256 == "" {
		return unprocessable("an approval is given on the SHA-256 of the offer's bytes", "")
	}
	return s.verdict(w, r, c, func(id grant.RequestID) error {
		_, err := s.service.ApproveSigned(r.Context(), c.Caller, id, in.OfferSHA256, in.Reason, signatureOf(in.Signature))
		return err
	})
}

func (s *Server) deny(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Verdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Signature != nil {
		return unprocessable("a refusal is not signed", "")
	}
	return s.verdict(w, r, c, func(id grant.RequestID) error {
		_, err := s.service.Deny(r.Context(), c.Caller, id, in.Reason)
		return err
	})
}

func (s *Server) withdraw(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Because
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	return s.verdict(w, r, c, func(id grant.RequestID) error {
		_, err := s.service.Withdraw(r.Context(), c.Caller, id)
		return err
	})
}

// verdict runs a verb on the request of the path and answers with it.
func (s *Server) verdict(w http.ResponseWriter, r *http.Request, c caller, f func(grant.RequestID) error) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	if err := f(id); err != nil {
		return err
	}
	return s.answerRequest(w, r, c, http.StatusOK, id)
}

// signatureOf is an approver's signature as it came; what is wrong with it is said by
// whoever checks it.
func signatureOf(in *api.Signature) proof.Signature {
	if in == nil {
		return proof.Signature{}
	}
	out := proof.Signature{SSH: in.SSH}
	if p := in.Passkey; p != nil {
		out.Passkey = &proof.Assertion{CredentialID: p.ID, AuthenticatorData: p.AuthenticatorData, ClientData: p.ClientData, Signature: p.Signature}
	}
	return out
}

// requestOf is a request as the API shows it; parts that v lacks stay empty.
func requestOf(v access.RequestView) api.Request {
	who := func(p identity.Principal, person identity.Person) api.Who {
		name := v.Shown[p]
		if name == p.String() {
			name = ""
		}
		return api.Who{Principal: p.String(), Person: personText(person), Name: name}
	}
	out := api.Request{
		ID: v.ID.String(), Revision: v.Revision, State: string(v.State), Requester: who(v.Requester, v.RequesterPerson),
		Entitlement: v.Entitlement, App: v.App, Params: v.Params, Duration: v.Duration.String(), Reason: v.Reason,
		Code: v.Code, Sentence: v.Sentence, Policy: api.Policy{Commit: v.PolicyCommit, Digest: v.PolicyDigest, Engine: v.Engine},
		Grant: v.Grant.String(), CreatedAt: stamp(v.CreatedAt), DecideBy: stamp(v.DecideBy), DecidedAt: stamp(v.DecidedAt),
	}
	for _, one := range v.Joint {
		out.Grants = append(out.Grants, jointOf(one, v.Now))
	}
	for i, step := range v.Steps {
		given := 0
		for _, a := range v.Approvals {
			if a.Step == i && a.Approves && a.Revision == v.Revision {
				given++
			}
		}
		out.Steps = append(out.Steps, api.Step{Any: slices.Clone(step.Any), Count: step.Count, Within: step.Within.String(), Given: given, Signed: step.Signed})
	}
	for _, a := range v.Approvals {
		out.Approvals = append(out.Approvals, api.Approval{
			ID: a.ID.String(), Step: a.Step + 1, Approver: who(a.Approver, a.Person), Approves: a.Approves, Reason: a.Reason, At: stamp(a.At),
		})
	}
	if len(v.OfferBytes) > 0 {
		out.Offer = &api.Offer{ID: v.Offer.String(), SHA256: v.OfferDigest, Bytes: string(v.OfferBytes)}
	}
	return out
}

func jointOf(s access.Standing, now time.Time) api.JointGrant {
	out := api.JointGrant{
		ID: s.ID.String(), Entitlement: s.Entitlement, App: s.Scope.App, State: string(s.State), InForce: s.InForce, Holds: s.Held, Running: s.Running, Waits: []string{},
	}
	out.EndedBy = endedBy(s.Grant, s.State, now)
	for _, i := range s.Waits {
		out.Waits = append(out.Waits, i.String())
	}
	return out
}

func personText(p identity.Person) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}
