package feedtest

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
)

// handOver is what a code stands for.
type handOver struct {
	state string
	id    string
	s     *feed.Session
}

// HandOver lets a code stand, once, for a session with that resource id on the
// host of s, for the browser with that state. The hash is the redeemer's.
func (s *Source) HandOver(code, state, id string, session *feed.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = handOver{state, id, session}
}

// EndSessionOf commits the removal of a session from the control plane's side.
func (s *Source) EndSessionOf(app, id string) feed.Position {
	s.mu.Lock()
	for _, i := range s.items {
		if x := i.r.GetSession(); x != nil && i.app == app && i.r.GetId() == id {
			s.ended[sessionKey(app, x.GetHash())] = true
		}
	}
	s.mu.Unlock()
	return s.commit(app, nil, []*feed.Removal{{Kind: feed.KindSession, Id: id, Reason: "session_ended", AtUs: s.Now().UnixMicro()}})
}

func sessionKey(app string, hash []byte) string { return fmt.Sprintf("%s %x", app, hash) }

// fronts refuses an instance that does not front an app.
func (s *Source) fronts(i feed.Instance, app string) error {
	if !slices.Contains(s.apps[i.Sidecar], app) {
		return status.Errorf(codes.PermissionDenied, "the sidecar does not front %s", app)
	}
	return nil
}

// Redeem implements feed.Source.
func (s *Source) Redeem(ctx context.Context, i feed.Instance, r *feed.RedeemRequest) (*feed.SessionResponse, error) {
	if err := s.begin(ctx, "Redeem"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	err := s.fronts(i, r.GetApp())
	h, ok := s.codes[r.GetCode()]
	delete(s.codes, r.GetCode())
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !ok, h.state != r.GetState(), h.s.GetApp() != r.GetApp(), h.s.GetHost() != r.GetHost():
		return nil, status.Error(codes.NotFound, "no such code")
	}
	session := proto.CloneOf(h.s)
	session.Hash = r.GetHash()
	out := &feed.Resource{Id: h.id, MinReader: 2, Resource: &feed.Resource_Session{Session: session}}
	s.Put(r.GetApp(), out)
	return &feed.SessionResponse{Session: out}, nil
}

// Lookup implements feed.Source.
func (s *Source) Lookup(ctx context.Context, i feed.Instance, r *feed.LookupRequest) (*feed.SessionResponse, error) {
	if err := s.begin(ctx, "Lookup"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fronts(i, r.GetApp()); err != nil {
		return nil, err
	}
	return &feed.SessionResponse{Session: s.session(r.GetApp(), r.GetHash()), Ended: s.ended[sessionKey(r.GetApp(), r.GetHash())]}, nil
}

// EndSession implements feed.Source.
func (s *Source) EndSession(ctx context.Context, i feed.Instance, r *feed.EndSessionRequest) (*feed.EndSessionResponse, error) {
	if err := s.begin(ctx, "EndSession"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	err := s.fronts(i, r.GetApp())
	held := s.session(r.GetApp(), r.GetHash())
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if held != nil {
		s.EndSessionOf(r.GetApp(), held.GetId())
	}
	return &feed.EndSessionResponse{}, nil
}

func (s *Source) session(app string, hash []byte) *feed.Resource {
	for _, i := range s.items {
		if x := i.r.GetSession(); x != nil && i.app == app && string(x.GetHash()) == string(hash) {
			return i.r
		}
	}
	return nil
}
