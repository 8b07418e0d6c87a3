package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

func (s *Server) fromDenial(w http.ResponseWriter, r *http.Request, c caller) error {
	var id grant.DenialID
	if err := pathID(r, &id); err != nil {
		return err
	}
	found, err := s.service.FromDenial(r.Context(), c.Caller, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.Suggestion{
		Denial: found.Denial.String(), Code: string(found.Code), App: found.App, Operation: found.Operation,
		Ask: api.Ask{Entitlement: found.Entitlement, Params: found.Params, Denial: found.Denial.String()}, Missing: found.Missing,
	})
}

func (s *Server) whoami(w http.ResponseWriter, r *http.Request, c caller) error {
	who, err := s.whoIs(r.Context(), c)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, who)
}

// whoIs works without a policy in force too, so that the first administrator can
// see who they are.
func (s *Server) whoIs(ctx context.Context, c caller) (api.Whoami, error) {
	out := api.Whoami{
		Principal: c.Principal.String(), Name: c.session.Name, GroupsAt: stamp(c.GroupsAt), Ends: stamp(c.session.EndsAt),
		RecordKey: s.c.RecordKey, Dev: s.c.Dev,
	}
	if rest, ok := strings.CutPrefix(out.Principal, "user:"); ok {
		out.IDP, _, _ = strings.Cut(rest, ":")
	}
	for _, g := range c.Groups {
		out.Groups = append(out.Groups, g.String())
	}
	set, err := s.service.Policy(ctx)
	if access.CodeOf(err) == access.CodeNoPolicy {
		return out, nil
	}
	if err != nil {
		return api.Whoami{}, err
	}
	if out.Notices, err = s.service.PolicyNotices(ctx); err != nil {
		return api.Whoami{}, err
	}
	if out.Observed, err = s.observed(ctx); err != nil {
		return api.Whoami{}, err
	}
	out.Policy = api.Policy{Commit: set.Commit(), Digest: set.Digest(), Engine: policy.EngineVersion()}
	if c.Principal.Kind() == identity.KindUser {
		out.Person = personText(set.PersonOf(c.Principal))
	}
	return out, nil
}

func (s *Server) entitlements(w http.ResponseWriter, r *http.Request, c caller) error {
	if q := readQuery(r.URL.RawQuery); q.err != nil {
		return q.err
	}
	set, err := s.service.Policy(r.Context())
	if err != nil {
		return err
	}
	out := api.Page[api.Entitlement]{Items: []api.Entitlement{}}
	for _, e := range set.Entitlements() {
		one := s.askable(set, c, e)
		if app, ok := set.App(e.App); ok {
			one.Callers = app.Callers
		}
		out.Items = append(out.Items, one)
	}
	for _, b := range set.Bundles() {
		terms, _ := set.Terms(b.Name)
		one := s.askable(set, c, terms)
		one.Entitlements = b.Entitlements
		out.Items = append(out.Items, one)
	}
	return writeJSON(w, http.StatusOK, out)
}

// askable is an entitlement, or the terms of a bundle, as the API shows it.
func (s *Server) askable(set *policy.Set, c caller, e *policy.Entitlement) api.Entitlement {
	out := api.Entitlement{
		Name: e.Name, App: e.App, Owner: e.Owner, Class: e.Class.String(), Max: e.Max.String(), Default: e.Default.String(),
		Operations: append([]string{}, e.Operations()...), Params: map[string]string{}, MayAsk: s.mayAsk(set, c, e.Name),
	}
	for _, p := range e.Params {
		out.Params[p.Name] = p.Words()
	}
	return out
}

// mayAsk reports whether policy would let the caller ask at all, by the decision
// on an empty ask: what else is wrong with that does not matter.
func (s *Server) mayAsk(set *policy.Set, c caller, name string) bool {
	d := set.Decide(policy.Input{
		Entitlement: name, Beneficiary: c.Principal, Now: s.c.Now(),
		Requester: policy.Requester{Principal: c.Principal, Person: set.PersonOf(c.Principal), Groups: c.Groups, GroupsAt: c.GroupsAt, ACR: c.ACR},
	})
	return !slices.ContainsFunc(d.Reasons, func(r policy.Reason) bool { return policy.Bars(r.Code) })
}

func (s *Server) trace(w http.ResponseWriter, r *http.Request, c caller) error {
	t, err := s.service.Trace(r.Context(), c.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	out := api.Trace{ID: t.ID, Entries: []api.Entry{}, TraceIDs: t.TraceIDs}
	if t.Request != nil {
		out.Request = t.Request.ID.String()
	}
	if t.Grant != nil {
		out.Grant = t.Grant.ID.String()
	}
	for _, one := range t.Joint {
		out.Grants = append(out.Grants, one.ID.String())
	}
	for _, one := range t.Records {
		e, err := entryOf(one, t.Shown)
		if err != nil {
			return err
		}
		out.Entries = append(out.Entries, e)
	}
	if t.Truncated {
		out.Missing = "there are more actions than are listed here: mayfly audit export has all of them"
	}
	return writeJSON(w, http.StatusOK, out)
}

// whoKeys are the members of a record's body that say who did it, best first.
func whoKeys() []string { return []string{"approver", "by", "principal", "requester"} }

func entryOf(one access.Traced, shown map[string]string) (api.Entry, error) {
	body, err := one.Record.Texts()
	if err != nil {
		return api.Entry{}, fmt.Errorf("record %s: %w", one.Record.ID, err)
	}
	e := api.Entry{
		Time: audit.Stamp(one.Record.Time), Type: string(one.Record.Type), Place: placeText(one.Place), Node: one.Record.Node, Detail: body,
	}
	for _, key := range whoKeys() {
		if v := e.Detail[key]; v != "" && e.Who == "" {
			e.Who = v
			if name := shown[v]; name != "" {
				e.Who = name
			}
		}
	}
	e.Text = sentenceOf(one.Record.Type, e.Detail)
	return e, nil
}

func placeText(p access.Place) string {
	if p.Spool == "" {
		return "leaf " + strconv.FormatUint(p.Seq, 10)
	}
	return p.Spool + " " + strconv.FormatUint(p.Seq, 10)
}
