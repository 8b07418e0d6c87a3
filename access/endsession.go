package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// endedBy says in the record who or what ended a session.
type endedBy string

// Who ends sessions.
const (
	byOwner    endedBy = "owner"    // logged out, in the console, the command or on the app's host
	byProvider endedBy = "provider" // its back-channel logout, or its word when it was asked again
	byLock     endedBy = "lock"     // an administrator
	byPolicy   endedBy = "policy"   // the host takes no people any more
	byTime     endedBy = "time"     // the sweeper
	byRecovery endedBy = "recovery" // an operator, with all others: the database was set back
	byReuse    endedBy = "reuse"    // the code that it came of was shown a second time
)

// sessionEnded is the body of the leaf session.ended.
type sessionEnded struct {
	Session   string     `json:"session"`
	Principal string     `json:"principal"` // pseudonym
	Kind      string     `json:"kind"`
	App       string     `json:"app,omitempty"`
	Host      string     `json:"host,omitempty"`
	Reason    string     `json:"reason"`
	By        string     `json:"by"`
	At        audit.Time `json:"at"`
}

// EndSession ends a session: its owner has logged out. What was handed over from
// a console session to the hosts of apps ends with it. Ending it twice is no error.
func (s *Service) EndSession(ctx context.Context, id grant.SessionID) error {
	return s.update(ctx, func(w *work) error {
		got, err := w.tx.Sessions().ByID(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("end session: %w", err)
		}
		_, err = w.endSessions(ctx, []Session{got}, grant.SessionEnded, byOwner)
		return err
	})
}

// EndSessions ends every live session of the caller but the one that it speaks
// with, and returns how many.
func (s *Service) EndSessions(ctx context.Context, c Caller) (int, error) {
	if !c.isPerson() {
		return 0, fault(CodeNotAPerson, "", "only a person has sessions")
	}
	var n int
	err := s.update(ctx, func(w *work) error {
		live, err := w.allLive(ctx, SessionFilter{Principal: c.Principal})
		if err != nil {
			return err
		}
		live = slices.DeleteFunc(live, func(s Session) bool { return s.ID == c.Session })
		n, err = w.endSessions(ctx, live, grant.SessionEnded, byOwner)
		return err
	})
	return n, err
}

// ProviderLogout is what a provider's back-channel logout token says (OpenID
// Connect Back-Channel Logout §2.4): a session of its own, or all of a subject.
type ProviderLogout struct {
	IDP     string // configured name
	Subject string // "" if only Session is told
	Session string // sid, "" if all of Subject's end
}

// LogoutAt ends the sessions of every kind that a provider says are over, and
// returns how many. None is no error. A provider ends sessions of its own accounts
// only, whatever sid it names. Where it names both, those sessions of the subject
// end too that it gave no sid when they began.
func (s *Service) LogoutAt(ctx context.Context, l ProviderLogout) (int, error) {
	f, err := l.filter()
	if err != nil {
		return 0, err
	}
	own := "user:" + l.IDP + ":"
	var n int
	err = s.update(ctx, func(w *work) error {
		live, err := w.allLive(ctx, f)
		if err != nil {
			return err
		}
		live = slices.DeleteFunc(live, func(s Session) bool {
			return !strings.HasPrefix(s.Principal.String(), own) || l.Session != "" && s.Provider != "" && s.Provider != l.Session
		})
		n, err = w.endSessions(ctx, live, grant.SessionEnded, byProvider)
		return err
	})
	return n, err
}

func (l ProviderLogout) filter() (SessionFilter, error) {
	var f SessionFilter
	if l.IDP == "" || l.Subject == "" && l.Session == "" {
		return f, fault(CodeInvalid, "", "a logout names a provider, and a session or a subject")
	}
	if l.Subject == "" {
		f.Provider = l.Session
		return f, nil
	}
	p, err := identity.User(l.IDP, l.Subject)
	if err != nil {
		return f, fault(CodeInvalid, "", "a logout of no account: %v", err)
	}
	f.Principal = p
	return f, nil
}

// endSessionsOf ends every live session, of any kind, of these accounts, with
// leaves and feed removals, and returns how many. why is grant.Locked, or
// grant.SessionEnded where the provider no longer stands for them.
func (w *work) endSessionsOf(ctx context.Context, principals []identity.Principal, why grant.Reason) (int, error) {
	var live []Session
	for _, p := range principals {
		if p.IsZero() { // an empty filter would be everybody
			continue
		}
		own, err := w.allLive(ctx, SessionFilter{Principal: p})
		if err != nil {
			return 0, err
		}
		live = append(live, own...)
	}
	by := byProvider
	if why == grant.Locked {
		by = byLock
	}
	return w.endSessions(ctx, live, why, by)
}

// allLive lists the live sessions that f filters.
func (w *work) allLive(ctx context.Context, f SessionFilter) ([]Session, error) {
	var out []Session
	err := eachSession(ctx, w.tx, f, func(s Session) error {
		out = append(out, s)
		return nil
	})
	return out, err
}

// eachSession calls visit for every live session that f filters, newest first.
func eachSession(ctx context.Context, tx Tx, f SessionFilter, visit func(Session) error) error {
	f.LiveAt = tx.Now()
	return everySession(ctx, tx, f, visit)
}

// eachFedSession calls visit for every session on hosts of an app that instances
// hold; see eachFed.
func eachFedSession(ctx context.Context, tx Tx, app string, visit func(Session) error) error {
	return everySession(ctx, tx, SessionFilter{App: app, Fed: true}, visit)
}

func everySession(ctx context.Context, tx Tx, f SessionFilter, visit func(Session) error) error {
	f.Limit = grantPage
	for {
		page, err := tx.Sessions().List(ctx, f)
		if err != nil {
			return fmt.Errorf("sessions: %w", err)
		}
		for _, s := range page {
			if err := visit(s); err != nil {
				return err
			}
		}
		if len(page) < f.Limit {
			return nil
		}
		f.Before = page[len(page)-1].ID
	}
}

// endSessions ends those of list that are live, each with what was handed over
// from it, and returns how many ended.
func (w *work) endSessions(ctx context.Context, list []Session, why grant.Reason, by endedBy) (int, error) {
	done := map[grant.SessionID]bool{}
	for len(list) > 0 {
		s := list[0]
		list = list[1:]
		if done[s.ID] || !s.Live(w.now) {
			continue
		}
		done[s.ID] = true
		if err := w.endSession(ctx, s, why, by); err != nil {
			return 0, err
		}
		if s.Kind != SessionConsole {
			continue
		}
		children, err := w.allLive(ctx, SessionFilter{Parent: s.ID})
		if err != nil {
			return 0, err
		}
		list = append(children, list...)
	}
	return len(done), nil
}

// endSession ends one live session now: mark, leaf and feed removal.
func (w *work) endSession(ctx context.Context, s Session, why grant.Reason, by endedBy) error {
	at := w.now.Truncate(time.Microsecond)
	if err := w.tx.Sessions().End(ctx, s.ID, at); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	w.touch(s.ID.String())
	return w.sessionOver(ctx, s, at, why, by)
}

// sessionOver records that a session ended at an instant, and takes it off the
// feed if instances hold it.
func (w *work) sessionOver(ctx context.Context, s Session, at time.Time, why grant.Reason, by endedBy) error {
	name, err := w.pseudonym(ctx, s.Principal)
	if err != nil {
		return err
	}
	body := sessionEnded{
		Session: s.ID.String(), Principal: name, Kind: string(s.Kind), App: s.App, Host: s.Host,
		Reason: string(why), By: string(by), At: audit.At(at),
	}
	if _, err := w.leaf(ctx, audit.TypeSessionEnded, name, body, s.ID.String()); err != nil {
		return err
	}
	if s.Kind != SessionApp {
		return nil
	}
	shown := grant.SessionEnded // to its owner: log in again. A lock is told as one
	if why == grant.Locked {
		shown = why
	}
	w.remove(s.App, feed.KindSession, s.ID.String(), string(shown))
	return nil
}

// sweepSessions takes sessions whose time has passed off the feed, so that the
// tables of the instances do not grow.
func (s *Service) sweepSessions(ctx context.Context) (int, error) {
	n := 0
	err := s.sweep(ctx, func(tx Tx) (bool, error) {
		over, err := tx.Sessions().Unswept(ctx, tx.Now(), 1)
		return len(over) > 0, err
	}, func(w *work) error {
		over, err := w.tx.Sessions().Unswept(ctx, w.now, sweepBatch)
		if err != nil {
			return fmt.Errorf("sessions that are over: %w", err)
		}
		for _, s := range over {
			if err := w.tx.Sessions().MarkSwept(ctx, s.ID); err != nil {
				return fmt.Errorf("session %s: %w", s.ID, err)
			}
			if err := w.sessionOver(ctx, s, s.EndsAt, grant.SessionEnded, byTime); err != nil {
				return err
			}
		}
		n = len(over)
		return nil
	})
	return n, err
}

// reviewSessions ends the sessions on hosts that set takes no people at, and tells
// the others again where policy makes something else of them (person, facts).
func (w *work) reviewSessions(ctx context.Context, before, set *policy.Set) error {
	var lost []Session
	for _, was := range before.Apps() {
		if !was.TakesPeople() {
			continue
		}
		now, still := set.App(was.Name)
		err := eachSession(ctx, w.tx, SessionFilter{App: was.Name}, func(s Session) error {
			if !still || !now.TakesPeople() || !slices.Contains(now.Hosts, s.Host) {
				lost = append(lost, s)
				return nil
			}
			if r := sessionResource(set, now, s); !proto.Equal(r, sessionResource(before, was, s)) {
				w.put(s.App, r)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	_, err := w.endSessions(ctx, lost, grant.PolicyChanged, byPolicy)
	return err
}
