package proxy

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestAnAppThatCannotBeServedIsNotHeld(t *testing.T) {
	refuse := func(a *App) error {
		if _, ok := a.Secret("refunds.create"); ok && a.Credentials[0].Secret == "elsewhere" {
			return grant.Deny(grant.CredentialUnavailable, "secret elsewhere is not configured")
		}
		return nil
	}
	for _, c := range []struct {
		name   string
		change func(*feed.App)
		reason string
	}{
		{"local configuration", func(a *feed.App) { a.Credentials[0].Secret = "elsewhere" }, "credential_unavailable"},
		{"stale_after above the cap", func(a *feed.App) { a.StaleAfterUs = (maxStale + time.Microsecond).Microseconds() }, "unsupported_grant"},
		{"no stale_after", func(a *feed.App) { a.StaleAfterUs = 0 }, "unsupported_grant"},
		{"negative max_stream", func(a *feed.App) { a.MaxStreamUs = -1 }, "unsupported_grant"},
		{"host in capitals", func(a *feed.App) { a.Hosts = []string{"Stripe.acme.example"} }, "unsupported_grant"},
		{"host with port", func(a *feed.App) { a.Hosts = []string{"stripe.acme.example:443"} }, "unsupported_grant"},
		{"no host", func(a *feed.App) { a.Hosts = nil }, "unsupported_grant"},
		{"no kind", func(a *feed.App) { a.Kind = "" }, "unsupported_grant"},
		{"another name", func(a *feed.App) { a.Name = "payments" }, "unsupported_grant"},
		{"upstream", func(a *feed.App) { a.Upstream = "ftp://x" }, "unsupported_grant"},
		{"upstream with a password", func(a *feed.App) { a.Upstream = "https://a:b@api.stripe.com" }, "unsupported_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := granted(t)
			m.Table = m.open(refuse)
			m.swap(stripeApp())
			m.pong(m.machine.plane())
			bad := stripeApp()
			c.change(bad.GetApp())
			nacks := m.add(bad)
			if len(nacks) != 1 || nacks[0].GetReason() != c.reason || nacks[0].GetKind() != feed.KindApp {
				t.Fatalf("nacks %v", nacks)
			}
			if _, ok := m.AppByHost("stripe.acme.example"); ok {
				t.Error("the older app still answers to the host")
			}
			if r := m.reason(); r != grant.UnknownApp {
				t.Errorf("refused with %q", r)
			}
		})
	}
}

func TestTwoAppsNeverShareAHost(t *testing.T) {
	thief := stripeApp()
	thief.Id, thief.GetApp().Name, thief.GetApp().Kind = "thief", "thief", "web"
	t.Run("a later one is refused", func(t *testing.T) {
		m, _ := granted(t)
		if nacks := m.add(thief); len(nacks) != 1 || nacks[0].GetId() != "thief" {
			t.Fatalf("nacks %v", nacks)
		}
		if a, ok := m.AppByHost("stripe.acme.example"); !ok || a.Name != "stripe" {
			t.Fatalf("the host answers as %v", a)
		}
		if _, ok := m.App("thief"); ok {
			t.Fatal("the refused app is held")
		}
	})
	t.Run("in one snapshot both are", func(t *testing.T) {
		m := newMemory(t)
		if _, nacks := m.swap(stripeApp(), thief); len(nacks) != 2 || len(m.Apps()) != 0 {
			t.Fatalf("nacks %v, apps %v", nacks, m.Apps())
		}
	})
	t.Run("a host moves in one change", func(t *testing.T) {
		m, _ := granted(t)
		moved := stripeApp()
		moved.GetApp().Hosts = []string{"old.acme.example"}
		if nacks := m.add(thief, moved); len(nacks) != 0 {
			t.Fatalf("nacks %v", nacks)
		}
		if a, _ := m.AppByHost("stripe.acme.example"); a == nil || a.Name != "thief" {
			t.Fatalf("the host answers as %v", a)
		}
	})
}

func TestAppsAreKnownByHostAndName(t *testing.T) {
	m, _ := granted(t)
	a, ok := m.AppByHost("stripe.acme.example")
	if b, ok2 := m.App("stripe"); !ok || !ok2 || a != b || a.MaxStream != defaultMaxStream || a.StaleAfter != 15*time.Second || a.Upstream.Host != "api.stripe.com" {
		t.Fatalf("app %+v", a)
	}
	if s, ok := a.Secret("refunds.create"); !ok || s != "stripe-refunds" {
		t.Errorf("secret %q", s)
	}
	if s, ok := a.Secret("charges.retrieve"); ok {
		t.Errorf("an operation without a credential is done with %q", s)
	}
	m.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindApp, Id: "stripe", Reason: "policy_changed"}}})
	if _, ok := m.AppByHost("stripe.acme.example"); ok || len(m.Apps()) > 0 {
		t.Error("a removed app still answers")
	}
}
