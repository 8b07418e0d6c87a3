package server

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// afterNobody is the cursor behind those who proved nobody, who come first.
const afterNobody = "!"

func (s *Server) listWorkloads(w http.ResponseWriter, r *http.Request, c caller) error {
	q := readQuery(r.URL.RawQuery, "unknown", "cursor", "limit")
	l := access.ListWorkloads{Unknown: q.flag("unknown"), After: q.text("cursor"), Limit: q.number("limit", maxPage)}
	if q.err != nil {
		return q.err
	}
	if l.Limit == 0 {
		l.Limit = maxPage
	}
	page, err := s.service.Workloads(r.Context(), c.Caller, l)
	if err != nil {
		return err
	}
	out := api.Page[api.Workload]{Items: []api.Workload{}}
	for _, v := range page {
		out.Items = append(out.Items, workloadOf(v))
	}
	if len(page) == l.Limit {
		if out.Cursor = page[len(page)-1].Principal.String(); out.Cursor == "" {
			out.Cursor = afterNobody
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func workloadOf(v access.WorkloadView) api.Workload {
	return api.Workload{
		Workload: v.Principal.String(), Owner: v.Owner, Listed: v.Known, First: stamp(v.First), Last: stamp(v.Last), Called: stamp(v.Called),
		Environment: v.Environment, App: v.App, Operation: v.Operation, Code: v.Code,
		Allowed: v.Allowed, Denied: v.Denied, Asked: v.Asked, Grants: v.Grants,
	}
}
