package server

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

func (s *Server) lock(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.LockVerdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.service.Lock(r.Context(), c.Caller, in.Target, in.Reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, lockOf(made))
}

func (s *Server) unlock(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.LockVerdict
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	lifted, err := s.service.Unlock(r.Context(), c.Caller, in.Target)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, lockOf(lifted))
}

func (s *Server) locks(w http.ResponseWriter, r *http.Request, c caller) error {
	if q := readQuery(r.URL.RawQuery); q.err != nil {
		return q.err
	}
	list, err := s.service.Locks(r.Context(), c.Caller)
	if err != nil {
		return err
	}
	out := api.Page[api.Lock]{Items: []api.Lock{}}
	for _, l := range list {
		out.Items = append(out.Items, lockOf(l))
	}
	return writeJSON(w, http.StatusOK, out)
}

func lockOf(l access.Locked) api.Lock {
	out := api.Lock{
		Target: l.Target, Name: l.Shown, By: l.By.String(), At: stamp(l.At), Reason: l.Reason,
		Sessions: l.Sessions, Grants: l.Grants, Requests: l.Requests, Accounts: []string{},
	}
	for _, a := range l.Accounts {
		out.Accounts = append(out.Accounts, a.String())
	}
	return out
}
