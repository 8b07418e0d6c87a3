package server

import (
	"context"

	"github.com/mayflyproxy/mayfly/api"
)

// observed lists the apps in observe mode.
func (s *Server) observed(ctx context.Context) ([]api.ObservedApp, error) {
	list, err := s.service.Observations(ctx)
	if err != nil {
		return nil, err
	}
	var out []api.ObservedApp
	for _, o := range list {
		out = append(out, api.ObservedApp{App: o.App, Owner: o.Owner, Until: stamp(o.Until), Exception: o.Exception})
	}
	return out, nil
}
