package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

func (s *Server) nodes(w http.ResponseWriter, r *http.Request, c caller) error {
	v, err := s.service.Nodes(r.Context(), c.Caller)
	if err != nil {
		return err
	}
	head, err := s.service.Source().Head(r.Context())
	if err != nil {
		return err
	}
	out := nodesOf(v, s.c.EnvoyStatus())
	for i := range out.Items {
		out.Items[i].Head = head.Revision
	}
	if out.Observed, err = s.observed(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) quarantine(w http.ResponseWriter, r *http.Request, c caller) error {
	return s.nodeVerdict(w, r, func(v api.NodeVerdict) error {
		_, err := s.service.Quarantine(r.Context(), c.Caller, v.Sidecar, v.Reason)
		return err
	})
}

func (s *Server) release(w http.ResponseWriter, r *http.Request, c caller) error {
	return s.nodeVerdict(w, r, func(v api.NodeVerdict) error {
		return s.service.Release(r.Context(), c.Caller, v.Sidecar, v.Reason)
	})
}

func (s *Server) nodeVerdict(w http.ResponseWriter, r *http.Request, f func(api.NodeVerdict) error) error {
	var in api.NodeVerdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := f(in); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// nodesOf lists every instance, and every registered sidecar that has none.
func nodesOf(v access.NodesView, envoys map[string]EnvoyStatus) api.Nodes {
	out := api.Nodes{Items: []api.Node{}}
	running := map[string]bool{}
	for _, i := range v.Instances {
		running[i.ID.Sidecar] = true
		out.Items = append(out.Items, nodeOf(i, envoys[i.ID.String()]))
	}
	for _, n := range v.Nodes {
		if sidecar := n.Sidecar.String(); !running[sidecar] {
			out.Items = append(out.Items, api.Node{Sidecar: sidecar, Environment: n.Environment, Apps: n.Apps, State: "absent", Envoy: "absent"})
		}
	}
	for i := range out.Items {
		for _, q := range v.Silenced {
			if q.Sidecar.String() == out.Items[i].Sidecar {
				out.Items[i].Quarantined, out.Items[i].Why = stamp(q.Since), q.Reason
			}
		}
	}
	for _, m := range v.Missing {
		out.Missing = append(out.Missing, fmt.Sprintf("records %d..%d of spool %s, written by %s, have been missing for %s",
			m.First, m.Last, m.Spool, m.Instance, v.Now.Sub(m.Since).Round(time.Second)))
	}
	for _, b := range v.Bundles {
		out.Bundles = append(out.Bundles, api.Bundle{
			Holder: b.Holder, TrustDomain: b.TrustDomain, Fetched: stamp(b.Fetched), Authorities: b.Authorities, Problem: b.Problem,
		})
	}
	return out
}

func nodeOf(i access.InstanceView, envoy EnvoyStatus) api.Node {
	n := api.Node{
		Sidecar: i.ID.Sidecar, Instance: i.ID.String(), Environment: i.Environment, Apps: i.Apps, Version: i.Version,
		State: "stale", Revision: i.Acked.Revision, LastPong: stamp(i.LastPong), Nack: i.Nack,
		Envoy: "absent", EnvoyNack: envoy.Nack, Uncovered: envoy.Uncovered, Catalogues: i.Catalogues, Differs: i.Differs,
		Checkpoint: string(i.Keeps.Note), Doubt: i.Keeps.Words(),
	}
	if !i.StrayedAt.IsZero() {
		n.Quarantined, n.Why = stamp(i.StrayedAt), "what it holds of "+strings.Join(i.Strayed, ", ")+" is not what it was told"
		n.Strayed = i.Strayed
	}
	switch {
	case !i.Listed:
		n.State = "gone"
	case i.Fresh:
		n.State = "fresh"
	}
	if envoy.Connected {
		n.Envoy = "connected"
	}
	return n
}
