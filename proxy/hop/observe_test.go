package hop

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// observe puts the rig's app in observe mode.
func (r *rig) observe(term time.Duration) {
	r.world.Add(proxytest.Observed(proxytest.Stripe(r.upstream.URL), r.world.Now().Add(term)))
}

// undecided is an action of a caller without a grant.
func undecided(a *proxy.Action) { a.Grant, a.Secret, a.Observed = grant.GrantID{}, "", true }

// sees returns what the upstream saw of the one request, as text.
func (r *rig) sees() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := json.Marshal(map[string]any{"header": r.last.Header, "url": r.last.URL.String(), "body": r.body})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// The caller brings its own credential, or none: the gateway's is not used, and not even
// read.
func TestP7_WhatPassesUndecidedCarriesNoCredentialOfOurs(t *testing.T) {
	for name, own := range map[string]string{"with its own": "Bearer sk_live_the_callers_own", "with none": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ok, bend{})
			r.observe(time.Hour)
			a := r.allow(undecided)
			q := r.request(a)
			if own != "" {
				q.Header.Set("Authorization", own)
			}
			q.Header.Set("X-Mayfly-Assertion", "forged")
			if got := r.do(q); got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if o := r.outcome(); o.Result != audit.ResultSent || o.Status != http.StatusOK {
				t.Errorf("outcome %+v", o)
			}
			saw := r.sees()
			if strings.Contains(saw, canary) || strings.Contains(strings.ToLower(saw), "x-mayfly") {
				t.Errorf("the upstream saw %s", saw)
			}
			if got := r.last.Header.Get("Authorization"); got != own {
				t.Errorf("the upstream saw the credential %q", got)
			}
		})
	}
}

// What was decided before the app came into observe mode was to be sent with the
// gateway's credential, which is used for no such app.
func TestP7_NoCredentialOfOursGoesToAnObservedApp(t *testing.T) {
	r := newRig(t, ok, bend{})
	a := r.allow()
	r.observe(time.Hour)
	if got := r.do(r.request(a)); got.reason() != grant.PolicyChanged {
		t.Errorf("%d %s", got.status, got.body)
	}
	r.notSent(grant.PolicyChanged)
}

// Enforced again while the upstream is dialled: what nobody decided is not sent.
func TestWhatNobodyDecidedIsNotSentOnceTheAppIsEnforced(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"by policy":    func(r *rig) { r.world.Add(proxytest.Stripe(r.upstream.URL)) },
		"by its end":   func(r *rig) { r.world.Pass(10 * time.Second) },
		"by the lease": func(r *rig) { r.world.Pass(15 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			var r *rig
			r = newRig(t, ok, bend{
				upstream: duringHandshake(func() { end(r) }),
				gate:     func(w *proxytest.World) Gate { return deaf{w.Table} },
			})
			r.observe(10 * time.Second)
			got := r.do(r.request(r.allow(undecided)))
			if got.status == http.StatusOK || r.dials.Load() != 1 {
				t.Fatalf("%d %s after %d connections", got.status, got.body, r.dials.Load())
			}
			r.notSent(got.reason())
		})
	}
}

// An answer that is under way when the app is enforced is cut.
func TestAnUndecidedAnswerIsCutOnceTheAppIsEnforced(t *testing.T) {
	var r *rig
	r = newRig(t, func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		r.world.Add(proxytest.Stripe(r.upstream.URL))
		<-q.Context().Done()
	}, bend{})
	r.observe(time.Hour)
	if got := r.do(r.request(r.allow(undecided))); got.err == nil {
		t.Fatalf("%d %s came to its end", got.status, got.body)
	}
	if o := r.outcome(); o.EndedBy != proxy.EndedByApp {
		t.Errorf("outcome %+v", o)
	}
}
