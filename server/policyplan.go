package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/policy"
)

// maxPlanTime is the longest that a plan or a replay may take.
const maxPlanTime = 10 * time.Minute

// maxPlanBody is the longest that the body of one may take: whoever sends it slowly holds
// a place meanwhile.
const maxPlanBody = 2 * time.Minute

// maxPlans is how many policies that somebody asks about are looked at at a time: each
// is in memory.
const maxPlans = 2

// policyFiles reads a policy that somebody asks about. Its place is taken before: a body
// is large, and is in memory whole.
func policyFiles(w http.ResponseWriter, r *http.Request) (api.PolicyFiles, map[string][]byte, error) {
	var in api.PolicyFiles
	// The body is larger than others, and so may take longer.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(maxPlanBody))
	if err := readJSONOf(w, r, &in, api.MaxPolicy, "24 MiB"); err != nil {
		return in, nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(maxPlanTime)) // once it is over the request is given up
	files := make(map[string][]byte, len(in.Files))
	for name, text := range in.Files {
		files[name] = []byte(text)
	}
	return in, files, nil
}

// planning keeps who may not plan outside, and all but a few of those who may.
func (s *Server) planning(r *http.Request, c caller) (done func(), err error) {
	if err := s.service.MayPlan(r.Context(), c.Caller); err != nil {
		return nil, err
	}
	select {
	case s.plans <- struct{}{}:
		return func() { <-s.plans }, nil
	default:
		return nil, problem(http.StatusServiceUnavailable, codeBusy, "Busy", "others are planning: try again in a moment")
	}
}

func (s *Server) planPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	done, err := s.planning(r, c)
	if err != nil {
		return err
	}
	defer done()
	_, files, err := policyFiles(w, r)
	if err != nil {
		return err
	}
	p, err := s.service.PlanPolicy(r.Context(), c.Caller, files)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, planView(p))
}

func planView(p access.Plan) api.PolicyPlan {
	out := api.PolicyPlan{
		Before: api.Policy{Commit: p.Before, Digest: p.BeforeDigest, Engine: policy.EngineVersion()}, Digest: p.Digest, Waits: p.Waits, Why: p.Why, Dev: p.Dev,
		Diff: api.PolicyDiff{
			First: p.First, Widens: p.Widens(), Changes: []api.PolicyChange{}, Reach: []api.PolicyReach{},
			Overlaps: []api.PolicyOverlap{}, Unreached: []api.PolicyUnreached{},
		},
		Ends: []api.PolicyEnd{}, Pending: []api.PolicyFlip{}, Warnings: []api.PolicyWarning{},
	}
	for _, c := range p.Changes {
		out.Diff.Changes = append(out.Diff.Changes, api.PolicyChange(c))
	}
	for _, one := range p.Reach {
		out.Diff.Reach = append(out.Diff.Reach, api.PolicyReach(one))
	}
	for _, o := range p.Overlaps {
		out.Diff.Overlaps = append(out.Diff.Overlaps, api.PolicyOverlap(o))
	}
	for _, u := range p.Unreached {
		out.Diff.Unreached = append(out.Diff.Unreached, api.PolicyUnreached(u))
	}
	for _, g := range p.Ends {
		out.Ends = append(out.Ends, api.PolicyEnd{
			Grant: g.ID.String(), Principal: p.Shown[g.Principal.String()], App: g.Scope.App, Entitlement: g.Entitlement, NotAfter: stamp(g.NotAfter),
		})
	}
	for _, f := range p.Pending {
		out.Pending = append(out.Pending, flipView(f))
	}
	for _, one := range p.Warnings {
		out.Warnings = append(out.Warnings, api.PolicyWarning{File: one.File, Line: one.Line, Column: one.Column, Code: string(one.Code), Message: one.Message})
	}
	return out
}

func flipView(f access.Flip) api.PolicyFlip {
	out := api.PolicyFlip{
		Request: f.Request.String(), At: stamp(f.At), Requester: f.Shown, Entitlement: f.Entitlement, Was: f.Was, Now: f.Now, Text: f.Text,
		Actions: f.Use.Actions, Refused: f.Use.Refused, Unsure: f.Use.Unsure, Operations: f.Use.Operations,
	}
	if !f.Grant.IsZero() {
		out.Grant = f.Grant.String()
	}
	return out
}

// replayPolicy answers line by line while it decides again. What goes wrong after the
// first line is the last one: the status has been sent.
func (s *Server) replayPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	done, err := s.planning(r, c)
	if err != nil {
		return err
	}
	defer done()
	in, files, err := policyFiles(w, r)
	if err != nil {
		return err
	}
	since, err := time.Parse(time.RFC3339Nano, in.Since)
	if err != nil {
		return badJSON("since must be a time")
	}
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	began := false
	tell := func(line api.PolicyReplay) error {
		if !began {
			began = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		}
		return lines.Encode(line)
	}
	flush := http.NewResponseController(w)
	sum, err := s.service.ReplayPolicy(r.Context(), c.Caller, files, since, func(step access.ReplayStep) error {
		if step.Flip != nil {
			f := flipView(*step.Flip)
			return tell(api.PolicyReplay{Flip: &f})
		}
		if err := tell(api.PolicyReplay{Done: int(100 * step.Done)}); err != nil {
			return err
		}
		return flush.Flush()
	})
	switch {
	case err != nil && !began:
		return err
	case err != nil:
		return tell(api.PolicyReplay{Fail: problemOf(err)})
	}
	return tell(api.PolicyReplay{Sum: &api.PolicyReplaySum{
		Since: stamp(sum.Since), Requests: sum.Requests, Flips: sum.Flips, Refused: sum.Refused, Unsure: sum.Unsure, Lost: sum.Lost, Engines: sum.Engines,
	}})
}

func (s *Server) logPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	q := readQuery(r.URL.RawQuery, "entitlement")
	if q.err != nil {
		return q.err
	}
	l, err := s.service.LogPolicy(r.Context(), c.Caller, q.text("entitlement"))
	if err != nil {
		return err
	}
	out := api.PolicyLog{Entitlement: l.Entitlement, Path: l.Path, Versions: []api.PolicyVersion{}, Lines: []api.PolicyLine{}}
	for _, v := range l.Versions {
		one := api.PolicyVersion{
			Commit: v.Commit, Digest: v.Digest, Signers: v.Signers, At: stamp(v.At), How: string(v.How), There: v.There, Added: v.Added, Removed: v.Removed, Requests: v.Requests,
		}
		if len(v.Signers) > 0 {
			one.Signer = v.Signers[0]
		}
		for _, id := range v.Newest {
			one.Newest = append(one.Newest, id.String())
		}
		out.Versions = append(out.Versions, one)
	}
	for _, line := range l.Lines {
		out.Lines = append(out.Lines, api.PolicyLine(line))
	}
	return writeJSON(w, http.StatusOK, out)
}
