package access_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

// provider is an identity provider. It takes each refresh token once and gives
// another for it, unless it keeps them.
type provider struct {
	mu       sync.Mutex
	tokens   map[string]string // to the account
	disabled map[string]bool
	groups   map[string][]identity.Group
	says     func(access.Login) access.Login // changes what it would say; nil: nothing
	silent   bool
	keeps    bool
	asked    int
	made     int
	hang     func()        // what a question to another provider costs; nil: nothing
	entered  chan struct{} // told of each question, which then waits for leave
	leave    chan struct{}
}

func newProvider() *provider {
	return &provider{tokens: map[string]string{}, disabled: map[string]bool{}, groups: map[string][]identity.Group{}}
}

// set changes the provider under its lock.
func (p *provider) set(f func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *provider) issue(who string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issueLocked(who)
}

func (p *provider) issueLocked(who string) []byte {
	p.made++
	token := "refresh-token-" + strconv.Itoa(p.made)
	p.tokens[token] = who
	return []byte(token)
}

func (p *provider) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *provider) Refresh(ctx context.Context, idp string, token []byte) (access.Login, error) {
	p.mu.Lock()
	p.asked++
	entered, leave, hang := p.entered, p.leave, p.hang
	p.mu.Unlock()
	if hang != nil && idp != "idp" {
		hang()
	}
	if entered != nil {
		entered <- struct{}{}
		<-leave
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	who, ok := p.tokens[string(token)]
	switch {
	case idp != "idp":
		return access.Login{}, errors.New("no such provider")
	case p.silent:
		return access.Login{}, context.DeadlineExceeded
	case !ok || p.disabled[who]:
		return access.Login{}, access.ErrIdentityRefused
	}
	account, err := identity.ParsePrincipal(who)
	if err != nil {
		return access.Login{}, err
	}
	l := access.Login{Principal: account, Groups: p.groups[who]}
	if !p.keeps {
		delete(p.tokens, string(token))
		l.Refresh = p.issueLocked(who)
	}
	if p.says != nil {
		l = p.says(l)
	}
	return l, nil
}

// loggedIn opens a session of an account that the provider knows.
func (w *world) loggedIn(kind access.SessionKind, who string) (access.SessionSecret, access.Session) {
	w.t.Helper()
	c := w.as(who)
	w.provider.set(func(p *provider) { p.groups[who] = c.Groups })
	return w.loginAs(access.Login{Kind: kind, Principal: c.Principal, Groups: c.Groups, Refresh: w.provider.issue(who)})
}

func (w *world) loginAs(l access.Login) (access.SessionSecret, access.Session) {
	w.t.Helper()
	if l.Kind == access.SessionAPI {
		l.ProofKey = [32]byte{1}
	}
	secret, session, err := w.NewSession(w.t.Context(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret, session
}

func (w *world) recheck() {
	w.t.Helper()
	if err := w.Recheck(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// wantLive fails unless a session lives, or does not.
func (w *world) wantLive(what string, kind access.SessionKind, secret access.SessionSecret, want bool) {
	w.t.Helper()
	_, err := w.Session(w.t.Context(), kind, secret)
	if code := access.CodeOf(err); code != "" && code != access.CodeNoSession {
		w.t.Fatal(err)
	}
	if (err == nil) != want {
		w.t.Fatalf("%s: the session lives: %v, want %v", what, err == nil, want)
	}
}

func groupsOf(t testing.TB, names ...string) []identity.Group {
	t.Helper()
	var out []identity.Group
	for _, n := range names {
		g, err := identity.ParseGroup("group:idp/" + n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}
