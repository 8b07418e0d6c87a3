package server

import (
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

func (s *Server) keys(w http.ResponseWriter, r *http.Request, c caller) error {
	if q := readQuery(r.URL.RawQuery); q.err != nil {
		return q.err
	}
	return s.writeKeys(w, r, c)
}

func (s *Server) rotateKeys(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.KeyRotation
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := s.service.RotateKeys(r.Context(), c.Caller, in.Now); err != nil {
		return err
	}
	return s.writeKeys(w, r, c)
}

func (s *Server) removeKey(w http.ResponseWriter, r *http.Request, c caller) error {
	var in api.KeyRemoval
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := s.service.RemoveKey(r.Context(), c.Caller, in.ID); err != nil {
		return err
	}
	return s.writeKeys(w, r, c)
}

func (s *Server) writeKeys(w http.ResponseWriter, r *http.Request, c caller) error {
	list, err := s.service.Keys(r.Context(), c.Caller)
	if err != nil {
		return err
	}
	out := api.Page[api.Key]{Items: []api.Key{}}
	for _, k := range list {
		out.Items = append(out.Items, keyOf(k))
	}
	return writeJSON(w, http.StatusOK, out)
}

func keyOf(k access.TokenKeyView) api.Key {
	out := api.Key{
		ID: k.ID, Alg: k.Alg, Use: "sig", State: string(k.State), Age: k.Age.Round(time.Second).String(), Published: stamp(k.PublishedAt),
		Activated: stamp(k.ActivatedAt), Ended: stamp(k.EndedAt),
	}
	switch k.State {
	case access.KeyActive:
		out.SignsUntil = stamp(k.SignsUntil)
	case access.KeyNext:
		out.SignsFrom = stamp(k.SignsFrom)
	case access.KeyRetired:
		out.Verifies = stamp(k.Until)
	}
	return out
}
