package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func (s *Server) listGrants(w http.ResponseWriter, r *http.Request, c caller) error {
	q := readQuery(r.URL.RawQuery, "app", "entitlement", "all", "everyone", "cursor", "limit")
	l := access.ListGrants{
		App: q.text("app"), Entitlement: q.text("entitlement"), Live: !q.flag("all"), Everyone: q.flag("everyone"), Limit: q.number("limit", maxPage),
	}
	q.parse("cursor", l.Before.UnmarshalText)
	if q.err != nil {
		return q.err
	}
	if l.Limit == 0 {
		l.Limit = maxPage
	}
	page, err := s.service.Grants(r.Context(), c.Caller, l)
	if err != nil {
		return err
	}
	out := api.Page[api.Grant]{Items: []api.Grant{}}
	for _, g := range page {
		out.Items = append(out.Items, grantOf(g))
	}
	if len(page) == l.Limit {
		out.Cursor = page[len(page)-1].ID.String()
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) showGrant(w http.ResponseWriter, r *http.Request, c caller) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	g, err := s.service.ShowGrant(r.Context(), c.Caller, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, grantOf(g))
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Because
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	return s.ending(w, r, func(id grant.GrantID) (access.Revocation, error) {
		return s.service.Revoke(r.Context(), c.Caller, id, in.Reason)
	})
}

func (s *Server) finish(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.Because
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	return s.ending(w, r, func(id grant.GrantID) (access.Revocation, error) {
		return s.service.Finish(r.Context(), c.Caller, id)
	})
}

func (s *Server) ending(w http.ResponseWriter, r *http.Request, f func(grant.GrantID) (access.Revocation, error)) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	made, err := f(id)
	if err != nil {
		return err
	}
	v := access.RevocationView{Revocation: made, Done: len(made.Waits) == 0}
	return writeJSON(w, http.StatusOK, receiptsOf(v))
}

func (s *Server) receipts(w http.ResponseWriter, r *http.Request, c caller) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	v, err := s.service.Revocation(r.Context(), c.Caller, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, receiptsOf(v))
}

func receiptsOf(v access.RevocationView) api.Receipts {
	out := api.Receipts{Grant: v.Grant, Revision: v.At.Revision, Complete: v.Done, Waits: []api.Receipt{}}
	for _, id := range v.With {
		out.With = append(out.With, id.String())
	}
	for _, wait := range v.Waits {
		state := wait.Done(v.Passed)
		if state == "" {
			state = "waiting"
		}
		out.Waits = append(out.Waits, api.Receipt{
			Instance: wait.Instance.String(), State: state, Until: stamp(wait.Until), AckedAt: stamp(wait.AckedAt),
			LastAllowed: stamp(wait.LastAllowed), LastAction: wait.LastAction, BoundedAt: stamp(wait.Bounded), StreamsCut: int(wait.StreamsCut),
		})
	}
	return out
}

func (s *Server) reach(w http.ResponseWriter, r *http.Request, c caller) error {
	var id grant.GrantID
	if err := pathID(r, &id); err != nil {
		return err
	}
	v, err := s.service.Reach(r.Context(), c.Caller, id)
	if err != nil {
		return err
	}
	out := api.Reach{
		Grant: v.Grant.String(), App: v.App.Name, Kind: v.App.Kind, Hosts: v.App.Hosts, Callers: v.App.Callers,
		Gateways: []string{}, Holds: len(v.Holds), Waits: []string{},
	}
	for _, n := range v.Nodes {
		out.Gateways = append(out.Gateways, n.Listener.String())
	}
	for _, i := range v.Waits {
		out.Waits = append(out.Waits, i.String())
	}
	return writeJSON(w, http.StatusOK, out)
}

// grantOf is a grant as the API shows it.
func grantOf(v access.GrantView) api.Grant {
	name := v.Shown
	if name == v.Principal.String() {
		name = ""
	}
	out := api.Grant{
		ID: v.ID.String(), Request: v.Request.String(), State: string(v.State), Holder: api.Who{Principal: v.Principal.String(), Name: name},
		Entitlement: v.Entitlement, App: v.Scope.App, Class: v.Class.String(), Operations: operations(v.Scope),
		NotBefore: stamp(v.NotBefore), NotAfter: stamp(v.NotAfter),
	}
	for _, id := range v.With {
		out.With = append(out.With, id.String())
	}
	if v.IdleAfter > 0 {
		out.IdleAfter = v.IdleAfter.String()
	}
	out.LastUsedAt = stamp(v.LastUse)
	if out.EndedBy = endedBy(v.Grant, v.State, v.Now); out.EndedBy != "" {
		out.EndedAt = stamp(v.EndsAt())
	}
	return out
}

// endedBy is the reason for which a grant has ended, "" if it has not.
func endedBy(g grant.Grant, state grant.State, now time.Time) string {
	switch {
	case g.EndedEarly != "":
		return string(g.EndedEarly)
	case state == grant.EndedState || state == grant.RevokedState:
		return string(grant.ReasonOf(g.InForce(now)))
	default:
		return ""
	}
}

// operations returns each operation of a scope with its constraints, in words.
func operations(s scope.Scope) []string {
	out := []string{}
	for _, rule := range s.Rules {
		words := make([]string, len(rule.Where))
		for i, c := range rule.Where {
			words[i] = c.String()
		}
		text := rule.Operation
		if len(words) > 0 {
			text += " where " + strings.Join(words, ", ")
		}
		out = append(out, text)
	}
	return out
}

// stamp writes a time as contracts §1 has it, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return audit.Stamp(t)
}

// quoted shows text of the caller's.
func quoted(s string) string { return strconv.Quote(clip(s)) }
