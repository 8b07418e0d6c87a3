package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// appLogin is the body of the leaf login of a session on a host of an app.
type appLogin struct {
	loginBody
	App     string `json:"app"`
	Host    string `json:"host"`
	Parent  string `json:"parent"`
	Gateway string `json:"gateway"` // the instance that redeemed the code
}

// AppSession returns a session of the caller's own by id.
func (s *Service) AppSession(ctx context.Context, c Caller, id grant.SessionID) (Session, error) {
	var out Session
	err := s.store.View(ctx, func(tx Tx) error {
		got, err := tx.Sessions().ByID(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		if c.Principal.IsZero() || got.Principal != c.Principal {
			return notFound(id.String())
		}
		out = got
		return nil
	})
	return out, err
}

// Redeem turns a hand-over code into a session on a host of an app that the
// instance fronts. Whatever comes of it, the code is spent: one that was shown
// where it does not belong has been seen by somebody else.
func (s Source) Redeem(ctx context.Context, i feed.Instance, r *feed.RedeemRequest) (*feed.SessionResponse, error) {
	hash, err := hashOf(r.GetHash())
	if err != nil {
		return nil, err
	}
	var out *feed.Resource
	var refusal string
	err = s.update(ctx, func(w *work) error {
		out = nil
		set, a, err := s.told(ctx, w.tx, i, r.GetApp())
		if err != nil {
			return err
		}
		var child Session
		child, refusal, err = w.redeem(ctx, a, r, hash)
		if err != nil || refusal != "" {
			return err // a refusal is committed: the code is spent
		}
		if err := w.openAppSession(ctx, i, child); err != nil {
			return err
		}
		out = sessionResource(set, a, child)
		w.put(a.Name, out)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case refusal != "" || out == nil:
		return nil, status.Error(codes.NotFound, "hand-over refused: "+refusal)
	default:
		return &feed.SessionResponse{Session: out}, nil
	}
}

// redeem spends a code and makes the session that it stands for, or says why it
// stands for none.
func (w *work) redeem(ctx context.Context, a policy.App, r *feed.RedeemRequest, hash [32]byte) (s Session, refusal string, err error) {
	raw, err := w.tx.Sessions().TakeLogin(ctx, hashKey(handOverPrefix+r.GetCode()), w.now)
	switch {
	case errors.Is(err, ErrNotFound):
		return Session{}, "there is no such code, or it was used, or its time has passed", nil
	case err != nil:
		return Session{}, "", fmt.Errorf("hand-over: %w", err)
	}
	h, err := readHandOver(raw)
	if err != nil {
		return Session{}, "", err
	}
	parent, err := w.tx.Sessions().ByID(ctx, h.Parent)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Session{}, "", fmt.Errorf("session: %w", err)
	}
	_, err = w.tx.Sessions().ByHash(ctx, hash)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Session{}, "", fmt.Errorf("session: %w", err)
	}
	taken := err == nil
	switch {
	case h.App != r.GetApp(), h.Host != r.GetHost():
		return Session{}, "the code was made for another host", nil
	case h.State != r.GetState():
		return Session{}, "the code was made for another browser", nil
	case !a.TakesPeople(), !slices.Contains(a.Hosts, h.Host):
		return Session{}, "the host takes no people any more", nil
	case parent.Kind != SessionConsole, !parent.Live(w.now):
		return Session{}, "the login that it stands for has ended", nil
	case taken:
		return Session{}, "the secret belongs to another session", nil
	}
	s, err = w.appSession(ctx, parent, h, hash)
	return s, "", err
}

func readHandOver(raw []byte) (handOver, error) {
	var h handOver
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return handOver{}, fmt.Errorf("stored hand-over: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return handOver{}, errors.New("stored hand-over: more than one value")
	}
	return h, nil
}

// appSession makes the session on one host that a console session is carried
// over to. It knows what its parent knows, and never outlives it.
func (w *work) appSession(ctx context.Context, parent Session, h handOver, hash [32]byte) (Session, error) {
	name, err := w.pseudonym(ctx, parent.Principal)
	if err != nil {
		return Session{}, err
	}
	s := Session{
		ID: w.minter.NewSessionID(w.now), Kind: SessionApp, Hash: hash, App: h.App, Host: h.Host, Parent: parent.ID, Provider: parent.Provider,
		Principal: parent.Principal, Pseudonym: name, Name: parent.Name, Email: parent.Email, Groups: parent.Groups, GroupsAt: parent.GroupsAt,
		ACR: parent.ACR, AuthTime: parent.AuthTime, CreatedAt: w.now, EndsAt: parent.EndsAt,
	}
	if end := w.now.Add(w.sessionLife); end.Before(s.EndsAt) {
		s.EndsAt = end
	}
	return s, nil
}

func (w *work) openAppSession(ctx context.Context, i feed.Instance, s Session) error {
	if err := w.tx.Sessions().Insert(ctx, s); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	body := appLogin{
		loginBody: loginBody{Session: s.ID.String(), Principal: s.Pseudonym, ACR: s.ACR, Ends: audit.At(s.EndsAt)},
		App:       s.App, Host: s.Host, Parent: s.Parent.String(), Gateway: i.String(),
	}
	if !s.AuthTime.IsZero() {
		body.AuthTime = audit.At(s.AuthTime)
	}
	_, err := w.leaf(ctx, audit.TypeLogin, s.Pseudonym, body, s.ID.String())
	return err
}

// Lookup answers about one session of an app that the instance fronts.
func (s Source) Lookup(ctx context.Context, i feed.Instance, r *feed.LookupRequest) (*feed.SessionResponse, error) {
	hash, err := hashOf(r.GetHash())
	if err != nil {
		return nil, err
	}
	out := &feed.SessionResponse{}
	err = s.store.View(ctx, func(tx Tx) error {
		set, a, err := s.told(ctx, tx, i, r.GetApp())
		if err != nil {
			return err
		}
		got, err := appSessionByHash(ctx, tx, a.Name, hash)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case !got.Live(tx.Now()):
			out.Ended = true
		default:
			out.Session = sessionResource(set, a, got)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// EndSession ends one session on a host of an app that the instance fronts: its
// owner logged out there. One that is not there, or over, is no error.
func (s Source) EndSession(ctx context.Context, i feed.Instance, r *feed.EndSessionRequest) (*feed.EndSessionResponse, error) {
	hash, err := hashOf(r.GetHash())
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, func(w *work) error {
		_, a, err := s.fronted(ctx, w.tx, i, r.GetApp())
		if err != nil {
			return err
		}
		got, err := appSessionByHash(ctx, w.tx, a.Name, hash)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil {
			_, err = w.endSessions(ctx, []Session{got}, grant.SessionEnded, byOwner)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &feed.EndSessionResponse{}, nil
}

// appSessionByHash returns a session on a host of one app. Sessions at other
// doors, and of other apps, are not there.
func appSessionByHash(ctx context.Context, tx Tx, app string, hash [32]byte) (Session, error) {
	got, err := tx.Sessions().ByHash(ctx, hash)
	if err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	if got.Kind != SessionApp || got.App != app {
		return Session{}, fmt.Errorf("session of %s: %w", clip(app), ErrNotFound)
	}
	return got, nil
}

func hashOf(b []byte) (hash [32]byte, err error) {
	if len(b) != len(hash) {
		return hash, status.Error(codes.InvalidArgument, "the hash is 32 bytes")
	}
	copy(hash[:], b)
	return hash, nil
}

// told is fronted for an instance that is told of sessions: not one in quarantine.
func (s *Service) told(ctx context.Context, tx Tx, i feed.Instance, app string) (*policy.Set, policy.App, error) {
	set, a, err := s.fronted(ctx, tx, i, app)
	if err != nil {
		return nil, policy.App{}, err
	}
	quiet, err := silent(ctx, tx, []feed.Beat{{Instance: i}})
	if err != nil {
		return nil, policy.App{}, err
	}
	if quiet[i] {
		return nil, policy.App{}, status.Error(codes.PermissionDenied, "this gateway is in quarantine")
	}
	return set, a, nil
}

// fronted returns an app that policy has the instance's node front.
func (s *Service) fronted(ctx context.Context, tx Tx, i feed.Instance, app string) (*policy.Set, policy.App, error) {
	if i == (feed.Instance{}) {
		return nil, policy.App{}, status.Error(codes.PermissionDenied, "no instance")
	}
	set, err := s.inForce(ctx, tx)
	if err != nil {
		return nil, policy.App{}, err
	}
	node, err := nodeOf(set, i)
	if err != nil {
		return nil, policy.App{}, err
	}
	a, ok := set.App(app)
	if !ok || !slices.Contains(node.Apps, app) {
		return nil, policy.App{}, status.Errorf(codes.PermissionDenied, "this node does not front %q", clip(app))
	}
	return set, a, nil
}

// liveSessions appends the resources of an app's live sessions.
func liveSessions(ctx context.Context, tx Tx, set *policy.Set, a policy.App, out []*feed.Resource) ([]*feed.Resource, error) {
	err := eachFedSession(ctx, tx, a.Name, func(s Session) error {
		out = append(out, sessionResource(set, a, s))
		return nil
	})
	return out, err
}
