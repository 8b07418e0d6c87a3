package server

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

func (s *Server) policyStatus(w http.ResponseWriter, r *http.Request, c caller) error {
	if q := readQuery(r.URL.RawQuery); q.err != nil {
		return q.err
	}
	v, err := s.service.PolicyStatus(r.Context(), c.Caller)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, policyStatusOf(v))
}

func policyStatusOf(v access.PolicyStatus) api.PolicyStatus {
	out := api.PolicyStatus{
		Commit: v.InForce.Commit, Digest: v.InForce.Digest, Signers: orEmpty(v.InForce.Signers), Since: stamp(v.InForce.At), How: string(v.InForce.How),
		Signatures: v.Signatures, Settle: v.Settle.String(), Dev: v.Dev, Settling: []api.SettlingCommit{},
		Tip: v.Seen.Tip, ReadAt: stamp(v.Seen.At), Unreadable: stamp(v.Seen.Failed), Notices: v.Notices(),
		Hold: holdViewOf(v.Hold), Proposed: holdViewOf(v.Proposed),
	}
	for _, c := range v.Settling {
		out.Settling = append(out.Settling, api.SettlingCommit{
			Commit: c.Commit, Digest: c.Digest, Signers: orEmpty(c.Signers), Seen: stamp(c.Seen), Due: stamp(c.DueAt), Gains: orEmpty(c.Gains),
		})
	}
	for _, x := range v.Over {
		out.Over = append(out.Over, api.OverException{Exception: x.Name, Owner: x.Owner, For: x.For(), Until: stamp(x.Until)})
	}
	if no := v.Seen.Refused; no.Reason != "" {
		out.Refused = &api.RefusedCommit{Commit: no.Commit, Reason: no.Reason, Words: no.Words, At: stamp(no.At)}
	}
	return out
}

func holdViewOf(h *access.HoldView) *api.PolicyHold {
	if h == nil {
		return nil
	}
	return &api.PolicyHold{Commit: h.Commit, For: h.Length.String(), Proposed: h.First, Confirmed: h.Second, Until: stamp(h.UntilAt)}
}

func (s *Server) holdPolicy(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.HoldVerdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	length, err := duration(in.For)
	if err != nil {
		return err
	}
	made, err := s.service.Hold(r.Context(), c.Caller, in.Commit, length)
	if err != nil {
		return err
	}
	out := *holdViewOf(&made.HoldView)
	out.GrantsEnd = len(made.Ended)
	return writeJSON(w, http.StatusOK, out)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
