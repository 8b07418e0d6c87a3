package cli_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/test/dev"
)

// person is one logged-in person with a folder of their own.
type person struct {
	w    *world
	env  map[string]string
	more []string // arguments of every command
}

func (w *world) person(name string) person {
	w.t.Helper()
	p := person{w: w, env: map[string]string{
		"MAYFLY_CA": w.roots, "MAYFLY_SERVER": w.public, "MAYFLY_CONFIG_DIR": filepath.Join(w.t.TempDir(), name),
	}}
	done := make(chan error, 1)
	out := w.atBrowser(w.t.Context(), name, done)
	if code := p.run(w.t.Context(), out, &pipe{}, "login"); code != 0 {
		w.t.Fatalf("login of %s: exit %d", name, code)
	}
	check(w.t, <-done)
	return p
}

// workload speaks with the SVID of a hint.
func (w *world) workload(hint string) person {
	return person{w: w, more: []string{"--svid=" + hint}, env: map[string]string{
		"MAYFLY_SERVER": w.workloads, "MAYFLY_SERVER_ID": "spiffe://acme.example" + mayflyd,
		"SPIFFE_ENDPOINT_SOCKET": w.socket, "MAYFLY_CONFIG_DIR": filepath.Join(w.t.TempDir(), hint),
	}}
}

func (p person) run(ctx context.Context, out, errs *pipe, args ...string) int {
	return p.w.cli(ctx, &pipe{}, out, errs, false, func(name string) string { return p.env[name] }, append(args, p.more...)...)
}

// json runs a command that must exit with want, and reads its output.
func (p person) json(want int, into any, args ...string) {
	p.w.t.Helper()
	out, errs := &pipe{}, &pipe{}
	if code := p.run(p.w.t.Context(), out, errs, append(args, "-o", "json")...); code != want {
		p.w.t.Fatalf("mayfly %s exits with %d, want %d: %s%s", strings.Join(args, " "), code, want, out, errs)
	}
	check(p.w.t, json.Unmarshal([]byte(out.String()), into))
}

// granted makes a live refund grant of the refunder.
func (w *world) granted() api.Request {
	w.t.Helper()
	var r api.Request
	w.workload("refunder").json(3, &r, "request", "stripe/refunds", "--param", "charge=ch_1", "--param", "amount_max=5000", "--reason", "nightly")
	out := &pipe{}
	if code := w.person("bob").run(w.t.Context(), out, out, "approve", r.ID, "--yes"); code != 0 {
		w.t.Fatalf("approve: exit %d: %s", code, out)
	}
	w.workload("refunder").json(0, &r, "show", r.ID)
	return r
}

// watch returns a pipe, and a func that waits until it holds a text.
func watch(t testing.TB) (*pipe, func(string)) {
	wrote := make(chan struct{}, 1000)
	p := &pipe{to: func(string) { wrote <- struct{}{} }}
	return p, func(want string) {
		t.Helper()
		limit := time.After(20 * time.Second)
		for !strings.Contains(p.String(), want) {
			select {
			case <-wrote:
			case <-limit:
				t.Fatalf("%q never came: %s", want, p)
			}
		}
	}
}

// A revoke that waits names each instance as it acknowledges, or as its lease
// runs out, and ends when nothing can pass any more.
func TestP4_RevokeWaitNamesEveryInstance(t *testing.T) {
	w := newWorld(t)
	r, dave := w.granted(), w.person("dave")
	w.join("a")
	w.join("b")
	out, wait := watch(t)
	code := make(chan int, 1)
	go func() { code <- dave.run(t.Context(), out, &pipe{}, "revoke", r.Grant, "--reason", "lost", "--wait") }()
	wait("has ended")
	w.ack("a")
	wait("acked   " + instance("a").String())
	wait(", 2 streams cut\n")
	if strings.Contains(out.String(), "closed") || len(code) > 0 {
		t.Fatalf("b was given up while its lease ran: %s", out)
	}
	w.pass(2 * time.Minute)
	wait("closed  " + instance("b").String())
	if got := <-code; got != 0 {
		t.Fatalf("exit %d, want 0", got)
	}
}

func TestP4_RevokeWaitInterrupted(t *testing.T) {
	w := newWorld(t)
	r, dave := w.granted(), w.person("dave")
	w.join("a")
	ctx, stop := context.WithCancel(t.Context())
	out, wait := watch(t)
	errs, code := &pipe{}, make(chan int, 1)
	go func() { code <- dave.run(ctx, out, errs, "revoke", r.Grant, "--wait") }()
	wait("has ended")
	stop()
	if got := <-code; got != 6 || !strings.Contains(errs.String(), "not heard from: "+instance("a").String()) {
		t.Fatalf("exit %d, %s", got, errs)
	}
}

func TestRequestWaitsForItsDecision(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	for _, c := range []struct {
		verb string
		code int
	}{{"approve", 0}, {"deny", 4}} {
		errs, wait := watch(t)
		out, code := &pipe{}, make(chan int, 1)
		go func() {
			code <- w.workload("refunder").run(t.Context(), out, errs, "request", "stripe/refunds", "--param", "charge=ch_1", "--param", "amount_max=5000", "--reason", "x", "--wait")
		}()
		wait("waits for 1 of 1")
		id, _, _ := strings.Cut(errs.String(), " ")
		if said := bob.run(t.Context(), &pipe{}, &pipe{}, c.verb, id, "--yes"); said != 0 {
			t.Fatalf("%s: exit %d", c.verb, said)
		}
		if got := <-code; got != c.code {
			t.Errorf("%s: the request exits with %d, want %d: %s", c.verb, got, c.code, out)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	errs, wait := watch(t)
	code := make(chan int, 1)
	go func() {
		code <- w.workload("refunder").run(ctx, &pipe{}, errs, "request", "stripe/refunds", "--param", "charge=ch_1", "--param", "amount_max=5000", "--reason", "x", "--wait")
	}()
	wait("waits for 1 of 1")
	stop()
	if got := <-code; got != 6 {
		t.Errorf("interrupted: exit %d, want 6", got)
	}
}

// A denial is turned into a request by whom it was recorded for, and nobody else.
func TestRequestFromDenial(t *testing.T) {
	w := newWorld(t)
	w.join("a")
	denial := w.denied("spiffe://acme.example" + refunder)
	out := &pipe{}
	if code := w.workload("shop").run(t.Context(), out, out, "request", "--from-denial", denial); code != 1 || !strings.Contains(out.String(), "not_found") {
		t.Errorf("another's denial: exit %d: %s", code, out)
	}
	out = &pipe{}
	if code := w.workload("refunder").run(t.Context(), out, out, "request", "--from-denial", denial); code != 2 || !strings.Contains(out.String(), "needs amount_max") && !strings.Contains(out.String(), "justification") {
		t.Errorf("what is missing is not named: exit %d: %s", code, out)
	}
	var r api.Request
	w.workload("refunder").json(3, &r, "request", "--from-denial", denial, "--param", "amount_max=700", "--reason", "x")
	if r.Entitlement != "stripe/refunds" || r.Params["charge"] != "ch_7" || r.Params["amount_max"] != "700" {
		t.Errorf("asked for %s %v", r.Entitlement, r.Params)
	}
}

// denied ships a segment in which principal was denied a refund of ch_7.
func (w *world) denied(principal string) string {
	w.t.Helper()
	m, now := grant.NewMinter(), w.clock()
	p, err := identity.ParsePrincipal(principal)
	check(w.t, err)
	d := audit.Denied{Denial: m.NewDenialID(now).String(), Code: string(grant.NoGrant), Try: audit.Try{
		Action: m.NewActionID(now).String(), Principal: p.String(), App: "stripe", Operation: "refunds.create",
		Attributes: map[string]audit.Attr{"charge": {Value: "ch_7"}}, Ask: audit.Ask{Method: "POST", Authority: "stripe.acme.example"},
	}}
	b, err := audit.Encode(audit.Record{ID: m.NewRecordID(now).String(), Type: audit.TypeActionDenied, Time: now, Node: instance("a").String(), Seq: 1, Body: d})
	check(w.t, err)
	frames, _, err := audit.AppendFrame(nil, audit.Hash{}, b)
	check(w.t, err)
	s, err := audit.NewSegment(m.NewSpoolID(now).String(), audit.Hash{}, 1, frames)
	check(w.t, err)
	res, err := w.Source().Ingest(w.t.Context(), instance("a"), &feed.IngestRequest{
		Spool: s.Spool, First: s.First, Last: s.Last, Frames: s.Frames, Root: s.Root[:], ChainHead: s.ChainHead[:],
	})
	check(w.t, err)
	if !res.GetAccepted() {
		w.t.Fatal("the segment was not accepted")
	}
	return d.Denial
}

// The command keeps the newest checkpoints, and no record that was cut or
// rewritten since passes.
func TestP9_TheCommandRemembersCheckpoints(t *testing.T) {
	w := newWorld(t)
	dave := w.person("dave")
	var before audit.Report
	dave.json(0, &before, "audit", "verify")
	w.granted()
	var r audit.Report
	dave.json(0, &r, "audit", "verify")
	if r.Checkpoint.Size <= before.Checkpoint.Size || !r.KeyGiven {
		t.Fatalf("checkpoint of size %d, then %d, key known: %v", before.Checkpoint.Size, r.Checkpoint.Size, r.KeyGiven)
	}
	// Another record, under the same name, in the place of the first.
	other := newWorld(t)
	dave.env["MAYFLY_SERVER"], dave.env["MAYFLY_CA"] = other.public, other.roots
	out := other.atBrowser(t.Context(), "dave", make(chan error, 1))
	errs := &pipe{}
	if code := dave.run(t.Context(), out, errs, "login"); code != 1 || !strings.Contains(errs.String(), "somebody signs another record") {
		t.Errorf("another record's key: exit %d: %s", code, errs)
	}
}

// What other people wrote cannot reach the terminal.
func TestHostileTextDoesNotReachTheTerminal(t *testing.T) {
	w := newWorld(t)
	const evil = "fine\x1b[2J\x1b]0;owned\x07\u202eno\r\nstate  approved"
	r, err := w.Request(t.Context(), access.Caller{Principal: principalOf(t, "spiffe://acme.example"+refunder)}, access.Ask{
		Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "1"}, Reason: evil,
	})
	check(t, err)
	bob := w.person("bob")
	for _, args := range [][]string{{"requests", "--waiting"}, {"show", r.ID.String()}, {"trace", r.ID.String()}, {"approve", r.ID.String(), "--yes", "--reason", evil}, {"show", r.ID.String()}} {
		out := &pipe{}
		if code := bob.run(t.Context(), out, out, args...); code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, out)
		}
		for _, c := range out.String() {
			if c != '\n' && c < ' ' || c == 0x7f || c == '\u202e' {
				t.Errorf("%v: %q reaches the terminal", args, c)
			}
		}
		if strings.Contains(out.String(), "\nstate  approved") && args[0] == "show" && args[1] == r.ID.String() && strings.Contains(out.String(), "no\r") {
			t.Errorf("%v: a line of the requester's looks like ours", args)
		}
	}
}

func principalOf(t testing.TB, s string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(s)
	check(t, err)
	return p
}

// A login that cannot be ends at once, and says what would be right.
func TestLoginAtNoProvider(t *testing.T) {
	w := newWorld(t)
	p := person{w: w, env: map[string]string{"MAYFLY_CA": w.roots, "MAYFLY_SERVER": w.public, "MAYFLY_CONFIG_DIR": t.TempDir()}}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	done, errs := make(chan error, 1), &pipe{}
	code := p.run(ctx, w.atBrowser(ctx, "alice", done), errs, "login", "--idp", "wrong")
	<-done
	if code != 2 || !strings.Contains(errs.String(), "choose one of idp") || strings.Contains(errs.String(), "no browser") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// Cancel in the browser ends the command.
func TestLoginCancelled(t *testing.T) {
	w := newWorld(t)
	p := person{w: w, env: map[string]string{"MAYFLY_CA": w.roots, "MAYFLY_SERVER": w.public, "MAYFLY_CONFIG_DIR": t.TempDir()}}
	done, out, errs := make(chan error, 1), &pipe{}, &pipe{}
	out.to = func(text string) {
		if strings.Contains(text, "/oauth/authorize?") {
			go func() { done <- dev.CancelCommand(t.Context(), w.browser, out.String(), "alice") }()
		}
	}
	if code := p.run(t.Context(), out, errs, "login"); code != 1 || !strings.Contains(errs.String(), "cancelled in the browser (access_denied)") {
		t.Errorf("exit %d: %s", code, errs)
	}
	check(t, <-done)
	if code := p.run(t.Context(), &pipe{}, errs, "whoami"); code != 1 {
		t.Errorf("whoami: exit %d", code)
	}
}

// The loopback port of a login answers nobody but the browser of that login.
func TestLoginPortRefusesStrangers(t *testing.T) {
	w := newWorld(t)
	p := person{w: w, env: map[string]string{"MAYFLY_CA": w.roots, "MAYFLY_SERVER": w.public, "MAYFLY_CONFIG_DIR": t.TempDir()}}
	ctx, stop := context.WithCancel(t.Context())
	out, wait := watch(t)
	code := make(chan int, 1)
	go func() { code <- p.run(ctx, out, &pipe{}, "login") }()
	wait("/oauth/authorize?")
	address, err := url.Parse(strings.Fields(out.String()[strings.Index(out.String(), "https://"):])[0])
	check(t, err)
	back, err := url.Parse(address.Query().Get("redirect_uri"))
	check(t, err)
	port, state := back.Port(), address.Query().Get("state")
	for name, c := range map[string]struct{ path, host string }{
		"no state":      {"/callback?code=x", ""},
		"another state": {"/callback?code=x&state=" + strings.Repeat("A", len(state)), ""},
		"another path":  {"/?code=x&state=" + state, ""},
		"another host":  {"/callback?code=x&state=" + state, "evil.example:" + port},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+c.path, nil)
		check(t, err)
		if c.host != "" {
			req.Host = c.host
		}
		res, err := http.DefaultClient.Do(req)
		check(t, err)
		check(t, res.Body.Close())
		if res.StatusCode != http.StatusBadRequest || len(code) > 0 {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	stop()
	if got := <-code; got != 6 {
		t.Errorf("exit %d, want 6", got)
	}
}
