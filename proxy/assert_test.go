package proxy_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// told is a desk whose panel is told who calls, and counts how often it is asked.
func told(t *testing.T) (d *desk, asked *[]*feed.AssertRequest) {
	t.Helper()
	d, _, _ = newFront(t)
	panel := proxytest.Panel()
	panel.MinReader, panel.GetApp().Assert = 3, true
	d.world.Add(panel)
	asked = &[]*feed.AssertRequest{}
	d.assert = func(r *feed.AssertRequest) (string, time.Time, error) {
		*asked = append(*asked, r)
		return "asserted." + r.GetSession(), d.world.Now().Add(30 * time.Second), nil
	}
	return d, asked
}

func TestAnAppIsToldWhoCalls(t *testing.T) {
	d, asked := told(t)
	v := d.check(visit("__Host-mayfly=" + secretA))
	if !v.allowed || len(*asked) != 1 || v.header["x-mayfly-assertion"] != "asserted."+(*asked)[0].GetSession() {
		t.Fatalf("%+v, asked %v", v, *asked)
	}
	if (*asked)[0].GetGrant() != d.journal.Intents()[0].Grant || (*asked)[0].GetSession() == "" {
		t.Errorf("asked about %v", (*asked)[0])
	}
	d.world.Pass(14 * time.Second)
	d.world.Pong()
	if v := d.check(visit("__Host-mayfly=" + secretA)); !v.allowed || len(*asked) != 1 {
		t.Errorf("asked %d times in 14 s", len(*asked))
	}
	d.world.Pass(2 * time.Second)
	d.world.Pong()
	if v := d.check(visit("__Host-mayfly=" + secretA)); !v.allowed || len(*asked) != 2 {
		t.Errorf("asked %d times in 16 s: an assertion is given for too long", len(*asked))
	}
}

func TestAnAppThatCannotBeToldIsNotReached(t *testing.T) {
	d, _ := told(t)
	d.assert = nil
	if v := d.check(visit("__Host-mayfly=" + secretA)); v.allowed || v.reason != grant.CredentialUnavailable {
		t.Errorf("%+v, want credential_unavailable", v)
	}
	d.assert = func(*feed.AssertRequest) (string, time.Time, error) {
		return "", time.Time{}, grant.Deny(grant.SessionEnded, "over")
	}
	if v := d.check(visit("__Host-mayfly=" + secretA)); v.allowed || v.reason != grant.SessionEnded {
		t.Errorf("%+v, want session_ended", v)
	}
	if len(d.journal.Intents()) != 0 {
		t.Error("an intent of a refused request")
	}
}

func TestAnAssertionIsOfOneSession(t *testing.T) {
	d, asked := told(t)
	d.world.Add(d.world.Login(secretB, time.Hour))
	first := d.check(visit("__Host-mayfly=" + secretA)).header["x-mayfly-assertion"]
	second := d.check(visit("__Host-mayfly=" + secretB)).header["x-mayfly-assertion"]
	if len(*asked) != 2 || first == second {
		t.Errorf("two sessions are told as one: %q and %q", first, second)
	}
}

// An app would refuse an assertion that a removed key signed, for as long as it is given.
func TestAnAssertionEndsWithTheKeys(t *testing.T) {
	d, asked := told(t)
	issuer := proxytest.NewIssuer(t)
	d.world.Add(issuer.Key())
	for range 2 {
		if v := d.check(visit("__Host-mayfly=" + secretA)); !v.allowed || len(*asked) != 1 {
			t.Fatalf("%+v, asked %d times", v, len(*asked))
		}
	}
	d.world.Remove(&feed.Removal{Kind: feed.KindKey, Id: issuer.Key().Id, Reason: "revoked"})
	if v := d.check(visit("__Host-mayfly=" + secretA)); !v.allowed || len(*asked) != 2 {
		t.Errorf("asked %d times: what a removed key signed is given again", len(*asked))
	}
}

// What the record says a request was decided from is what it was decided from, however
// long the wait for the assertion: the last look refuses by itself.
func TestP8_TheRecordKeepsTheAgeThatWasLookedAt(t *testing.T) {
	d, _ := told(t)
	before, _ := d.world.Freshness()
	d.assert = func(r *feed.AssertRequest) (string, time.Time, error) {
		d.world.Pass(time.Hour)
		return "asserted", d.world.Now().Add(30 * time.Second), nil
	}
	v := d.check(visit("__Host-mayfly=" + secretA))
	if intents := d.journal.Intents(); v.allowed || len(intents) != 1 || intents[0].FreshnessMS != before.Milliseconds() {
		t.Errorf("%+v with intents %+v, decided when the newest Ping was %s old", v, intents, before)
	}
}
