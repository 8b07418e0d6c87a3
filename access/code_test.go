package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
)

// aCode is what the browser carries from the login to the command.
const aCode = "J8VbZ0o7vQ2mT5xN1kYc4hLrWfPd6sGa"

// keepCode begins a login, as the console does it once somebody has logged in.
func (w *world) keepCode(body string) {
	w.t.Helper()
	ok(w.t, w.PutCode(w.t.Context(), aCode, []byte(body)))
}

// redeem shows a code; whoever does it holds key.
func (w *world) redeem(code string, key byte) (access.SessionSecret, access.Session, error) {
	return w.RedeemCode(w.t.Context(), code, func(body []byte) (access.Login, error) {
		if string(body) != "of carol" {
			return access.Login{}, errors.New("the body is " + string(body))
		}
		return access.Login{Kind: access.SessionAPI, Principal: principal(w.t, carol), ProofKey: [32]byte{key}, ACR: "urn:mfa"}, nil
	})
}

func TestACodeIsForOneSession(t *testing.T) {
	w := newWorld(t)
	w.keepCode("of carol")
	before := len(w.leaves())
	secret, s, err := w.redeem(aCode, 1)
	if err != nil || s.Principal.String() != carol || s.ProofKey != [32]byte{1} || w.types(before) != string(audit.TypeLogin) {
		t.Fatalf("%+v, %v, leaves %s", s, err, w.types(before))
	}
	w.wantLive("what came of it", access.SessionAPI, secret, true)
	if body := bodyText(w.leaves()[before]); strings.Contains(body, aCode) || strings.Contains(body, secret.Reveal()) {
		t.Errorf("the leaf tells a secret: %s", body)
	}
}

// A code that is shown a second time was seen by two: whoever came first has to log in
// again too (RFC 6749 §4.1.2).
func TestACodeShownTwiceEndsWhatCameOfIt(t *testing.T) {
	w := newWorld(t)
	w.keepCode("of carol")
	thief, _, err := w.redeem(aCode, 6)
	ok(t, err)
	mine, _ := w.loggedIn(access.SessionAPI, carol) // by another way
	before := len(w.leaves())
	if secret, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeNoSession || secret.Reveal() != "" {
		t.Fatalf("the second time: %v", err)
	}
	w.wantLive("the first one's session", access.SessionAPI, thief, false)
	w.wantLive("a session of another login", access.SessionAPI, mine, true)
	if got := w.types(before); got != string(audit.TypeSessionEnded) || w.leafWords(audit.TypeSessionEnded)["by"] != "reuse" {
		t.Errorf("leaves %s: %v", got, w.leafWords(audit.TypeSessionEnded))
	}
	before = len(w.leaves())
	if _, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeNoSession || w.types(before) != "" {
		t.Errorf("the third time: %v, leaves %s", err, w.types(before))
	}
}

// Shown again after its session was ended, a code ends nothing more.
func TestACodeShownAgainAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	w.keepCode("of carol")
	_, s, err := w.redeem(aCode, 1)
	ok(t, err)
	ok(t, w.EndSession(t.Context(), s.ID))
	before := len(w.leaves())
	if _, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeNoSession || w.types(before) != "" {
		t.Errorf("%v, leaves %s", err, w.types(before))
	}
}

func TestWhatIsNoCode(t *testing.T) {
	w := newWorld(t)
	w.keepCode("of carol")
	ok(t, w.PutLogin(t.Context(), "a-login", []byte("of carol"), time.Minute))
	for name, code := range map[string]string{
		"another one": aCode + "x", "nothing": "", "a login that is under way": "a-login", "by its place in the store": "code:" + aCode,
	} {
		if secret, _, err := w.redeem(code, 1); access.CodeOf(err) != access.CodeNoSession || secret.Reveal() != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.TakeLogin(t.Context(), aCode); access.CodeOf(err) != access.CodeNoSession {
		t.Errorf("a code is taken as a login: %v", err)
	}
	w.pass(61 * time.Second)
	if _, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeNoSession {
		t.Errorf("after its minute: %v", err)
	}
}

// Whoever shows a code without what it is bound to has spent it: nobody tries twice.
func TestARefusedAuthorizationCodeIsSpent(t *testing.T) {
	refusal := errors.New("the verifier is another one")
	for _, c := range []struct {
		name  string
		login access.Login
		err   error
		want  func(error) bool
	}{
		{"refused", access.Login{}, refusal, func(err error) bool { return errors.Is(err, refusal) }},
		{"for a workload", access.Login{Kind: access.SessionAPI, Principal: identity.Principal{}, ProofKey: [32]byte{1}}, nil, func(err error) bool { return access.CodeOf(err) == access.CodeNotAPerson }},
		{"bound to no key", access.Login{Kind: access.SessionAPI, Principal: principal(t, carol)}, nil, func(err error) bool { return err != nil }},
		{"for another kind of session", access.Login{Kind: access.SessionApp, Principal: principal(t, carol)}, nil, func(err error) bool { return err != nil }},
	} {
		w := newWorld(t)
		w.keepCode("of carol")
		before := len(w.leaves())
		_, _, err := w.RedeemCode(t.Context(), aCode, func([]byte) (access.Login, error) { return c.login, c.err })
		if !c.want(err) || w.types(before) != "" {
			t.Errorf("%s: %v, leaves %s", c.name, err, w.types(before))
		}
		if _, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeNoSession {
			t.Errorf("%s, and then shown by its owner: %v", c.name, err)
		}
	}
}

// Whoever is locked gets no session of a code from before.
func TestALockedPersonsCodeOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.keepCode("of carol")
	w.lock(carol)
	if secret, _, err := w.redeem(aCode, 1); access.CodeOf(err) != access.CodeLocked || secret.Reveal() != "" {
		t.Errorf("%v", err)
	}
}

// The store has neither the code nor what it stands for, and what was changed there
// opens nothing.
func TestP7_ACodeIsSealedInTheStore(t *testing.T) {
	o := newOwner(t)
	o.keepCode("of carol")
	row := string(o.bytes(`SELECT body FROM logins`))
	key := string(o.bytes(`SELECT key FROM logins`))
	if strings.Contains(row, "carol") || strings.Contains(key, aCode) {
		t.Errorf("the store has %q under %q", row, key)
	}
	changed := []byte(row)
	changed[len(changed)-1] ^= 1
	o.exec(`UPDATE logins SET body = ?`, changed)
	secret, _, err := o.redeem(aCode, 1)
	if err == nil || secret.Reveal() != "" {
		t.Errorf("a changed code opened a session: %v", err)
	}
}
