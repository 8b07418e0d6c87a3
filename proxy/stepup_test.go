package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// A person whose login is too old is shown why, and a way to log in again that comes
// back to the page.
func TestStepUpSendsAPersonToLogin(t *testing.T) {
	d, _, _ := newFront(t)
	panel := proxytest.Panel()
	panel.MinReader = 3
	panel.GetApp().StepUp = []*feed.StepUp{{Entitlement: "panel/use", MaxAgeUs: (10 * time.Minute).Microseconds()}}
	d.world.Add(panel)
	if v := d.check(visit("__Host-mayfly=" + secretA)); !v.allowed {
		t.Fatalf("a login of this minute: %+v", v)
	}
	d.world.Pass(11 * time.Minute)
	d.world.Pong()
	v := d.check(visit("__Host-mayfly=" + secretA))
	if v.allowed || v.status != 401 || v.reason != grant.LoginAgain || len(v.cookies) != 1 || !strings.HasPrefix(v.cookies[0], "__Host-mayfly-login=") {
		t.Fatalf("%+v, want a page and the cookie of a login that began", v)
	}
	if !strings.Contains(v.body, proxytest.Console+"/login?") || !strings.Contains(v.body, "max_age=600") || !strings.Contains(v.body, "Log in again") {
		t.Errorf("the page leads nowhere: %s", v.body)
	}
}
