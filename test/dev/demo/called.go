package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// called tells how a person calls an app from a terminal, with a token.
func (s *story) called(ctx context.Context) error {
	s.chapter("A person at a terminal: policy lets clients at the wiki too, and alice, who still holds wiki/read, calls it with a token bound to her login's key.")
	const at = "apps/wiki.yaml"
	text := strings.Replace(s.e.Files()[at], "callers: [people]", "callers: [people, clients]", 1)
	if _, err := s.e.Policy.Commit("Let clients call the wiki", map[string]string{at: text}); err != nil {
		return err
	}
	args := []string{"call", "wiki", wikiPath, "--gateway", s.gw.Clients}
	s.fact("alice$ mayfly %s", quoted(args))
	return s.until(ctx, "alice's call of the wiki", func() error {
		before := len(s.e.Wiki.Arrivals())
		ran, err := s.e.CLI(ctx, "alice", args...)
		if err != nil {
			return err
		}
		if ran.Exit != exitDone {
			return fmt.Errorf("it ended with %d: %s", ran.Exit, ran.Text())
		}
		got := s.e.Wiki.Arrivals()[before:]
		if len(got) != 1 || got[0].Authorization != "" || got[0].Header.Get("DPoP") != "" {
			return errors.New("the wiki saw the token or its proof")
		}
		s.fact("it passes; the wiki saw neither the token, which lives five minutes at most, nor the proof")
		return nil
	})
}

// keepCalled says how to try the same by hand.
func (s *story) keepCalled() {
	s.say("or as alice (support), whose programs reach the wiki:")
	s.say("")
	for _, v := range s.e.Environment("alice") {
		s.say("  export %s", v)
	}
	s.say("  export MAYFLY_GATEWAY=%s", s.gw.Clients)
	s.say("  %s/mayfly call wiki %s", s.e.Bin, wikiPath)
	s.say("")
}
