package server

import (
	"context"
	"net/http"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/policy"
)

// observed lists the apps in observe mode.
func (s *Server) observed(ctx context.Context) ([]api.ObservedApp, error) {
	list, err := s.service.Observations(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	return observedApps(list), nil
}

func observedApps(list []policy.Observation) []api.ObservedApp {
	out := []api.ObservedApp{}
	for _, o := range list {
		out = append(out, api.ObservedApp{App: o.App, Owner: o.Owner, Until: stamp(o.Until), Exception: o.Exception})
	}
	return out
}

func (s *Server) observeReport(w http.ResponseWriter, r *http.Request, c caller) error {
	q := readQuery(r.URL.RawQuery, "app", "since", "owner")
	since, err := duration(q.text("since"))
	if q.err != nil {
		return q.err
	}
	if err != nil {
		return err
	}
	v, err := s.service.ObserveReport(r.Context(), c.Caller, access.ObserveQuery{App: q.text("app"), Since: since, Owner: q.text("owner")})
	if err != nil {
		return err
	}
	out := api.ObserveReport{From: stamp(v.From), Apps: observedApps(v.Apps), Rows: []api.ObservedRow{}, Unmet: v.Unmet}
	for _, row := range v.Rows {
		out.Rows = append(out.Rows, api.ObservedRow{
			App: row.App, Principal: row.Principal.String(), Name: row.Name, Operation: row.Operation, Code: row.Code, Count: row.Count, Last: stamp(row.Last),
		})
	}
	for _, p := range v.Proposals {
		out.Proposals = append(out.Proposals, api.PolicyFile{Path: p.Path, Text: p.YAML})
	}
	for _, p := range v.Problems {
		out.Problems = append(out.Problems, p.Error())
	}
	return writeJSON(w, http.StatusOK, out)
}
