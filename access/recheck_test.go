package access_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	maxAge   = access.DefaultIdentityAge
	recheckT = maxAge * 2 / 3 // when the provider is asked again
)

// leafWords returns the body of the newest leaf of a type.
func (w *world) leafWords(t audit.Type) map[string]any {
	w.t.Helper()
	all := w.leaves()
	for _, r := range slices.Backward(all) {
		if r.Type != t {
			continue
		}
		body, err := r.Map()
		if err != nil {
			w.t.Fatal(err)
		}
		return body
	}
	w.t.Fatalf("there is no leaf %s", t)
	return nil
}

func (w *world) grantIs(c access.Caller, id grant.GrantID, state grant.State, why grant.Reason) {
	w.t.Helper()
	g, err := w.ShowGrant(w.t.Context(), c, id)
	if err != nil || g.State != state || g.EndedEarly != why {
		w.t.Fatalf("the grant is %s (%q), %v; want %s (%q)", g.State, g.EndedEarly, err, state, why)
	}
}

func (w *world) identity(who string) (access.Identity, error) {
	var out access.Identity
	err := w.store.View(w.t.Context(), func(tx access.Tx) (err error) {
		out, err = tx.Identities().Get(w.t.Context(), principal(w.t, who))
		return err
	})
	return out, err
}

func TestADisabledPersonLosesWhatTheyHold(t *testing.T) {
	w := newWorld(t)
	command, _ := w.loggedIn(access.SessionAPI, carol)
	console, _ := w.loggedIn(access.SessionConsole, carol)
	other, _ := w.loggedIn(access.SessionAPI, bob)
	r := w.ask(w.as(carol), reports(), access.Approved)

	w.pass(recheckT - time.Microsecond)
	if w.recheck(); w.provider.questions() != 0 {
		t.Fatal("asked before it was time")
	}
	w.pass(time.Microsecond)
	before := len(w.leaves())
	w.recheck()
	w.recheck()
	if n := w.provider.questions(); n != 2 || w.types(before) != "" {
		t.Fatalf("asked %d times about two persons, leaves %q", n, w.types(before))
	}
	w.grantIs(w.as(carol), r.Grant, grant.Active, "")

	w.provider.set(func(p *provider) { p.disabled[carol] = true })
	w.pass(recheckT)
	wakes := w.woken()
	w.recheck()
	w.wantLive("the command's", access.SessionAPI, command, false)
	w.wantLive("the console's", access.SessionConsole, console, false)
	w.wantLive("somebody else's", access.SessionAPI, other, true)
	w.grantIs(w.as(carol), r.Grant, grant.RevokedState, grant.SessionEnded)
	if w.woken() == wakes {
		t.Error("no instance is told")
	}
	why := w.leafWords(audit.TypeIdentityRefused)
	if why["why"] != "refused" || why["sessions"] != "2" || why["grants"] != "1" || !strings.HasPrefix(why["principal"].(string), "p_") {
		t.Errorf("on record stands %v", why)
	}
	if _, err := w.identity(carol); err == nil {
		t.Error("the token is kept")
	}
}

func TestASilentProviderEndsAtMaxAge(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	r := w.ask(w.as(carol), reports(), access.Approved)
	w.provider.set(func(p *provider) { p.silent = true })
	w.pass(recheckT)
	for passed := recheckT; passed < maxAge; passed += time.Second {
		w.recheck()
		w.wantLive("after "+passed.String(), access.SessionAPI, secret, true)
		w.pass(time.Second)
	}
	// The clock stands at the whole age; once more just before it.
	w.pass(-time.Microsecond)
	w.recheck()
	w.wantLive("just before the end", access.SessionAPI, secret, true)
	w.grantIs(w.as(carol), r.Grant, grant.Active, "")
	n := w.provider.questions()
	if n < 4 || n > 12 {
		t.Errorf("asked %d times in %s", n, maxAge-recheckT)
	}
	w.pass(time.Microsecond)
	w.recheck()
	w.wantLive("at the end", access.SessionAPI, secret, false)
	w.grantIs(w.as(carol), r.Grant, grant.RevokedState, grant.SessionEnded)
	if w.provider.questions() != n {
		t.Error("asked once more at the end, which is late already")
	}
	if why := w.leafWords(audit.TypeIdentityRefused)["why"]; why != "silent" {
		t.Errorf("on record stands %v", why)
	}
}

// A provider that hangs holds up nobody of another one: whoever is disabled there
// loses what they hold in time.
func TestADeadProviderHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	for n := range 400 {
		w.loginAs(access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, fmt.Sprintf("user:dead:p%d", n)), Refresh: w.provider.issue("nobody")})
	}
	w.pass(time.Second)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	w.provider.set(func(p *provider) {
		p.disabled[carol] = true
		p.hang = func() { w.pass(5 * time.Second / 16) } // that many are asked at once
	})
	w.pass(recheckT)
	for end := w.clock().Add(maxAge - recheckT); w.clock().Before(end); w.pass(time.Second) {
		w.recheck()
	}
	w.wantLive("at the whole age", access.SessionAPI, secret, false)
	w.recheck()
	if why := w.leafWords(audit.TypeIdentityRefused)["why"]; why != "silent" {
		t.Errorf("of the dead provider's persons stands %v on record", why)
	}
}

func TestAProviderThatComesBackInTimeRenews(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	w.provider.set(func(p *provider) { p.silent = true })
	w.pass(recheckT)
	w.recheck()
	w.provider.set(func(p *provider) { p.silent = false })
	w.pass(maxAge - recheckT - time.Second)
	w.recheck()
	w.pass(recheckT)
	w.provider.set(func(p *provider) { p.silent = true })
	w.recheck()
	w.wantLive("renewed", access.SessionAPI, secret, true)
}

func TestTheTokenThatTakesItsPlaceIsKept(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		t.Run(fmt.Sprintf("keeps %v", keeps), func(t *testing.T) {
			w := newWorld(t)
			secret, _ := w.loggedIn(access.SessionAPI, carol)
			w.provider.set(func(p *provider) { p.keeps = keeps })
			for range 4 {
				w.pass(recheckT)
				w.recheck()
			}
			w.wantLive("after four checks", access.SessionAPI, secret, true)
			if n := w.provider.questions(); n != 4 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestAnAnswerAboutAnotherAccountIsANo(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	w.provider.set(func(p *provider) {
		p.says = func(l access.Login) access.Login { l.Principal = principal(t, dave); return l }
	})
	w.pass(recheckT)
	w.recheck()
	w.wantLive("", access.SessionAPI, secret, false)
}

// TestANewLoginIsNotEndedByAnAnswerAboutTheOld has the answer on its way while the
// person logs in again.
func TestANewLoginIsNotEndedByAnAnswerAboutTheOld(t *testing.T) {
	for _, disabled := range []bool{true, false} {
		t.Run(fmt.Sprintf("a no: %v", disabled), func(t *testing.T) {
			w := newWorld(t)
			w.loggedIn(access.SessionAPI, carol)
			entered, leave := make(chan struct{}), make(chan struct{})
			w.provider.set(func(p *provider) { p.entered, p.leave, p.disabled[carol] = entered, leave, disabled })
			w.pass(recheckT)
			done := make(chan error)
			go func() { done <- w.Recheck(t.Context()) }()
			<-entered
			again, _ := w.loggedIn(access.SessionAPI, carol)
			held, err := w.identity(carol)
			if err != nil {
				t.Fatal(err)
			}
			close(leave)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			w.wantLive("the new login", access.SessionAPI, again, true)
			if now, err := w.identity(carol); err != nil || !bytes.Equal(now.Sealed, held.Sealed) {
				t.Errorf("the new login's token is another now: %v", err)
			}
		})
	}
}

func TestAPersonIsAskedAboutOnceAtATime(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.provider.set(func(p *provider) { p.entered, p.leave = entered, leave })
	w.pass(16 * time.Minute) // the groups are too old as well
	done := make(chan error)
	go func() { done <- w.Recheck(t.Context()) }()
	<-entered
	if err := w.Recheck(t.Context()); err != nil { // a second pass does not wait
		t.Fatal(err)
	}
	fresh := make(chan access.Session)
	go func() { // a caller does, for the groups
		s, err := w.Session(t.Context(), access.SessionAPI, secret)
		if err != nil {
			t.Error(err)
		}
		fresh <- s
	}()
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := <-fresh; !s.GroupsAt.Equal(w.clock()) {
		t.Errorf("groups of %s at %s", s.GroupsAt, w.clock())
	}
	if n := w.provider.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// afterView is a store that calls f once, after a read.
type afterView struct {
	access.Store
	f func()
}

func (s *afterView) View(ctx context.Context, do func(access.Tx) error) error {
	err := s.Store.View(ctx, do)
	if f := s.f; f != nil {
		s.f = nil
		f()
	}
	return err
}

// TestAPassThatComesLateAsksNobodyAgain: what it has read is not so any more, and
// the token that it has seen was used.
func TestAPassThatComesLateAsksNobodyAgain(t *testing.T) {
	var s *afterView
	w := newWorldOver(t, func(in access.Store) access.Store { s = &afterView{Store: in}; return s })
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	w.pass(recheckT)
	s.f = w.recheck
	w.recheck()
	w.wantLive("", access.SessionAPI, secret, true)
	if n := w.provider.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAfterALongStopThereIsOneTry(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %v", silent), func(t *testing.T) {
			w := newWorld(t)
			secret, _ := w.loggedIn(access.SessionAPI, carol)
			w.provider.set(func(p *provider) { p.silent = true })
			w.pass(recheckT)
			w.recheck()
			w.pass(3 * time.Hour)
			w.provider.set(func(p *provider) { p.silent, p.asked = silent, 0 })
			w.recheck()
			w.wantLive("", access.SessionAPI, secret, !silent)
			if n := w.provider.questions(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestGroupsThatAreTooOldAreAskedForFirst(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.loggedIn(access.SessionAPI, carol)
	ctx := t.Context()
	w.provider.set(func(p *provider) { p.groups[carol] = groupsOf(t, "engineers", "security") })
	w.pass(16 * time.Minute)
	s, err := w.Session(ctx, access.SessionAPI, secret)
	if err != nil {
		t.Fatal(err)
	}
	if !s.GroupsAt.Equal(w.clock()) || fmt.Sprint(s.Groups) != "[group:idp/engineers group:idp/security]" {
		t.Fatalf("groups %v of %s", s.Groups, s.GroupsAt)
	}
	w.ask(access.CallerOf(s), reports(), access.Approved)

	// A provider that does not answer changes nothing, and is not asked at each call.
	w.provider.set(func(p *provider) { p.silent, p.asked = true, 0 })
	w.pass(16 * time.Minute)
	for range 3 {
		if s, err = w.Session(ctx, access.SessionAPI, secret); err != nil {
			break
		}
	}
	if access.CodeOf(err) != access.CodeNoSession { // sixteen minutes are more than the whole age
		t.Fatalf("silence for longer than the whole age: %v", err)
	}
	if n := w.provider.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestASilentProviderLeavesTheSessionAsItWas(t *testing.T) {
	w := newWorldAged(t, access.MaxIdentityAge)
	secret, old := w.loggedIn(access.SessionAPI, carol)
	w.provider.set(func(p *provider) { p.silent = true })
	w.pass(16 * time.Minute)
	for range 3 {
		s, err := w.Session(t.Context(), access.SessionAPI, secret)
		if err != nil || !s.GroupsAt.Equal(old.GroupsAt) {
			t.Fatalf("groups of %s, %v", s.GroupsAt, err)
		}
	}
	if n := w.provider.questions(); n != 1 {
		t.Errorf("asked %d times within 30 s", n)
	}
	w.pass(30 * time.Second)
	w.provider.set(func(p *provider) { p.silent = false })
	if s, err := w.Session(t.Context(), access.SessionAPI, secret); err != nil || !s.GroupsAt.Equal(w.clock()) {
		t.Errorf("groups of %s, %v", s.GroupsAt, err)
	}
}

func TestWithoutARefreshTokenNobodyIsAsked(t *testing.T) {
	w := newWorld(t)
	c := w.as(carol)
	w.loggedIn(access.SessionAPI, carol)
	secret, _ := w.loginAs(access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: c.Principal, Groups: c.Groups}) // takes the place of the first
	w.pass(time.Hour)
	w.recheck()
	w.wantLive("", access.SessionAPI, secret, true)
	if n := w.provider.questions(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// TestASealedTokenOpensForItsAccountOnly moves a row, as somebody with the
// database could: the token would be used as another account's.
func TestASealedTokenOpensForItsAccountOnly(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.loggedIn(access.SessionAPI, carol)
	secret, _ := w.loggedIn(access.SessionAPI, bob)
	from, err := w.identity(carol)
	if err != nil || bytes.Contains(from.Sealed, []byte("refresh")) {
		t.Fatalf("the token lies open: %q, %v", from.Sealed, err)
	}
	from.Principal = principal(t, bob)
	err = w.store.Update(ctx, func(tx access.Tx) error { return tx.Identities().Put(ctx, from) })
	if err != nil {
		t.Fatal(err)
	}
	w.pass(recheckT)
	w.recheck()
	if n := w.provider.questions(); n != 1 { // about carol
		t.Errorf("the provider was asked %d times", n)
	}
	w.pass(maxAge - recheckT)
	w.recheck()
	w.wantLive("", access.SessionAPI, secret, false)
}

func TestInstancesLearnOtherGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, console := w.loggedIn(access.SessionConsole, carol)
	onHost := console
	onHost.ID, onHost.Kind, onHost.Hash = grant.NewMinter().NewSessionID(w.clock()), access.SessionApp, [32]byte{7}
	onHost.App, onHost.Host, onHost.Parent = "reports", "reports.acme.example", console.ID
	if err := w.store.Update(ctx, func(tx access.Tx) error { return tx.Sessions().Insert(ctx, onHost) }); err != nil {
		t.Fatal(err)
	}
	head := w.head()
	w.pass(recheckT)
	w.recheck()
	if w.head() != head {
		t.Fatal("the same groups moved the feed")
	}
	w.provider.set(func(p *provider) { p.groups[carol] = groupsOf(t, "support") })
	w.pass(recheckT)
	w.recheck()
	changes, ok, err := w.Source().Changes(ctx, head, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || changes[0].App != "reports" {
		t.Fatalf("changes %v, %v, %v", changes, ok, err)
	}
	if s := changes[0].Resources[0].GetSession(); fmt.Sprint(s.GetGroups()) != "[group:idp/support]" {
		t.Errorf("told %v", s.GetGroups())
	}
	if n := w.leafWords(audit.TypeIdentityChanged)["sessions"]; n != "2" {
		t.Errorf("on record stand %v sessions", n)
	}
}

// TestP6_AnAddressThatIsLeftOutStaysKnown: an answer without the address must not
// make one human two.
func TestP6_AnAddressThatIsLeftOutStaysKnown(t *testing.T) {
	w := newWorld(t)
	c := w.as(bob)
	w.loginAs(access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: c.Principal, Groups: c.Groups, Name: "Bob", Email: "bob@acme.example", Refresh: w.provider.issue(bob)})
	w.pass(recheckT)
	w.recheck()
	w.view(func(ctx context.Context, tx access.Tx) error {
		name, email, err := tx.Persons().Profile(ctx, c.Principal)
		if name != "Bob" || email != "bob@acme.example" {
			t.Errorf("profile %q, %q", name, email)
		}
		return err
	})
}

func TestTokensOfThoseWhoHoldNothingAreForgotten(t *testing.T) {
	w := newWorld(t)
	_, session := w.loggedIn(access.SessionAPI, carol)
	w.loggedIn(access.SessionAPI, bob)
	if err := w.EndSession(t.Context(), session.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	w.recheck()
	if _, err := w.identity(carol); err == nil {
		t.Error("kept after the logout")
	}
	if _, err := w.identity(bob); err != nil {
		t.Error("forgotten during the session")
	}
}

func TestManyPersonsAreChecked(t *testing.T) {
	w := newWorld(t)
	const persons = 60
	for i := range persons {
		w.loggedIn(access.SessionAPI, fmt.Sprintf("user:idp:p%d", i))
	}
	w.pass(recheckT)
	var all sync.WaitGroup
	for range 4 { // whoever else passes at the same time
		all.Go(w.recheck)
	}
	all.Wait()
	if n := w.provider.questions(); n != persons {
		t.Errorf("asked %d times about %d persons", n, persons)
	}
}

func TestASealKeyShowsInNoOutput(t *testing.T) {
	raw := bytes.Repeat([]byte("K"), 32)
	k, err := access.ParseSealKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v %s %q", k, k, k, k, k), string(text), k.LogValue().String()} {
		if strings.Contains(out, "KKKK") || strings.Contains(out, "75 75") || !strings.Contains(out, "redacted") {
			t.Errorf("printed as %s", out)
		}
	}
	if !bytes.Equal(k.Reveal(), raw) || k.IsZero() || !(access.SealKey{}).IsZero() {
		t.Error("the key is another")
	}
	if _, err := access.ParseSealKey(raw[:31]); err == nil {
		t.Error("a short key was taken")
	}
}
