package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// nodesView is every gateway, registered or running.
type nodesView struct {
	Head    int64
	Nodes   []nodeView
	Missing []string
	Bundles []bundleView
}

// bundleView is the bundle of a foreign trust domain, as somebody holds it.
type bundleView struct {
	Domain, Holder string
	Authorities    int
	Fetched        when
	Problem        string
}

// nodeView is one running instance, or a registered sidecar that does not run.
type nodeView struct {
	Name, Run   string // SPIFFE ID and the process, "" if none runs
	State       string // fresh, stale, gone or absent
	Environment string
	Apps        string
	Version     string
	Revision    int64
	Behind      bool
	LastPong    when
	Envoy       bool
	Troubles    []string
}

func (c *Console) nodes(w http.ResponseWriter, r *http.Request, v *visit) error {
	n, err := c.service.Nodes(r.Context(), v.Caller)
	if err != nil {
		return err
	}
	head, err := c.service.Source().Head(r.Context())
	if err != nil {
		return err
	}
	view := nodesView{Head: head.Revision}
	envoys, running := c.c.EnvoyStatus(), map[string]bool{}
	for _, i := range n.Instances {
		running[i.ID.Sidecar] = true
		view.Nodes = append(view.Nodes, nodeOf(i, envoys[i.ID.String()], view.Head))
	}
	for _, one := range n.Nodes {
		if name := one.Sidecar.String(); !running[name] {
			view.Nodes = append(view.Nodes, nodeView{Name: name, State: "absent", Environment: one.Environment, Apps: strings.Join(one.Apps, ", ")})
		}
	}
	for _, m := range n.Missing {
		view.Missing = append(view.Missing, fmt.Sprintf("Records %d to %d of spool %s, written by %s, have been missing for %s.",
			m.First, m.Last, m.Spool, m.Instance, long(n.Now.Sub(m.Since).Round(time.Second))))
	}
	for _, b := range n.Bundles {
		one := bundleView{Domain: b.TrustDomain, Holder: b.Holder, Authorities: b.Authorities, Problem: b.Problem}
		if !b.Fetched.IsZero() {
			one.Fetched = seen(b.Fetched, n.Now)
		}
		view.Bundles = append(view.Bundles, one)
	}
	return c.render(w, r, http.StatusOK, "nodes", page{Title: "Nodes", Section: "nodes", Who: v, Now: n.Now, Every: 10, Poll: 30, Body: view})
}

func nodeOf(i access.InstanceView, envoy EnvoyStatus, newest int64) nodeView {
	out := nodeView{
		Name: i.ID.Sidecar, Run: i.ID.Run, State: "stale", Environment: i.Environment, Apps: strings.Join(i.Apps, ", "), Version: i.Version,
		Revision: i.Acked.Revision, Behind: i.Acked.Revision < newest, Envoy: envoy.Connected,
	}
	if !i.LastPong.IsZero() {
		out.LastPong = precise(i.LastPong)
	}
	switch {
	case !i.Listed:
		out.State = "gone"
	case i.Fresh:
		out.State = "fresh"
	}
	if !i.StrayedAt.IsZero() {
		out.Troubles = append(out.Troubles, "It is in quarantine: what it holds of "+strings.Join(i.Strayed, ", ")+" is not what it was told")
	}
	if words := i.Keeps.Words(); words != "" {
		out.Troubles = append(out.Troubles, "It "+words)
	}
	for _, said := range [][2]string{
		{"It refused", i.Nack}, {"Its Envoy refused", envoy.Nack},
		{"It has another catalogue than mayflyd, for", strings.Join(i.Differs, ", ")},
		{"It has no certificate for", strings.Join(envoy.Uncovered, ", ")},
	} {
		if said[1] != "" {
			out.Troubles = append(out.Troubles, said[0]+": "+said[1])
		}
	}
	return out
}
