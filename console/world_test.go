package console_test

import (
	"html"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/console"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
)

const (
	origin  = "https://mayfly.acme.example:8443"
	cookie  = "__Host-mayfly-console"
	gateway = "spiffe://acme.example/gw/sidecar"
	port    = 9443
	reports = "https://reports.acme.example:9443"
)

// world is a Console over the real Service and database, called without a network.
type world struct {
	*access.Service
	t     testing.TB
	db    *sqlite.Store
	pages http.Handler
	log   *lockedBuffer

	mu    sync.Mutex
	ahead time.Duration
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func newWorld(t testing.TB, change ...func(*access.Config)) *world {
	t.Helper()
	w := &world{t: t, log: &lockedBuffer{}}
	began := time.Now()
	var err error
	w.db, err = sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "mayfly.db"), Now: w.clock,
		BootNow: func() time.Duration { return w.clock().Sub(began) },
	})
	check(t, err)
	t.Cleanup(func() { check(t, w.db.Close()) })
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	check(t, err)
	signer, err := audit.NewSigner(key)
	check(t, err)
	config := access.Config{
		Unsettled: true,
		Store:     w.db, Signer: signer, Minter: grant.NewMinter(), Policy: kinds(t), Console: origin, PeoplePort: port, DenialWait: time.Millisecond,
	}
	for _, f := range change {
		f(&config)
	}
	w.Service, err = access.New(config)
	check(t, err)
	w.apply("1", nil)
	c, err := console.New(console.Config{Service: w.Service, Origin: origin, PeoplePort: port, Now: w.clock, Log: slog.New(slog.NewJSONHandler(w.log, nil))})
	check(t, err)
	w.pages = c.Handler()
	return w
}

// withBundles is the digit of a commit that has the bundle of the examples too.
const withBundles = "b"

// apply puts the policy of the examples in force, reports open to people, after
// replacements; what is named like a file is one more.
func (w *world) apply(digit string, replace map[string]string) {
	w.t.Helper()
	files := map[string][]byte{}
	root := os.DirFS("../examples/policy")
	check(w.t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(name, "bundles/") && digit != withBundles {
			return nil // its entitlements could not be signed with it
		}
		b, err := fs.ReadFile(root, name)
		text, _, _ := strings.Cut(string(b), "\ntests:\n") // the inline tests are policy's
		if name == "apps/reports.yaml" {
			text = strings.Replace(text, "callers: [services]", "callers: [services, people]", 1)
		}
		for from, to := range replace {
			text = strings.ReplaceAll(text, from, to)
		}
		files[name] = []byte(text + "\n")
		return err
	}))
	for name, text := range replace {
		if strings.HasSuffix(name, ".yaml") {
			files[name] = []byte(text)
		}
	}
	after := ""
	if digit != "1" {
		after = strings.Repeat("1", 40)
	}
	_, err := w.ApplyPolicy(w.t.Context(), access.PolicyCommit{Files: files, Commit: strings.Repeat(digit, 40), Signer: "sam", After: after})
	check(w.t, err)
}

func kinds(t testing.TB) policy.Options {
	t.Helper()
	s, err := stripe.New()
	check(t, err)
	v, err := web.New()
	check(t, err)
	known := map[string]*scope.Catalogue{s.Name(): s.Catalogue(), v.Name(): v.Catalogue()}
	return policy.Options{Catalogue: func(kind string) (*scope.Catalogue, bool) { c, ok := known[kind]; return c, ok }}
}

// browser is one person's, logged in.
type browser struct {
	*world
	secret  string
	session access.Session
}

func (b browser) caller() access.Caller { return access.CallerOf(b.session) }

// login opens a session of name with these groups, as the console's own login does.
func (w *world) login(name string, groups ...string) browser {
	w.t.Helper()
	p, err := identity.User("idp", name)
	check(w.t, err)
	l := access.Login{Kind: access.SessionConsole, Principal: p, Name: strings.ToUpper(name[:1]) + name[1:], Email: name + "@acme.example"}
	for _, g := range groups {
		group, err := identity.ParseGroup("group:idp/" + g)
		check(w.t, err)
		l.Groups = append(l.Groups, group)
	}
	secret, s, err := w.NewSession(w.t.Context(), l)
	check(w.t, err)
	return browser{w, secret.Reveal(), s}
}

// called opens a session of somebody whose name at the provider is name.
func (w *world) called(name string) browser {
	w.t.Helper()
	b := w.login("mallory", "support", "engineers")
	secret, s, err := w.NewSession(w.t.Context(), access.Login{
		Kind: access.SessionConsole, Principal: b.session.Principal, Name: name, Email: name, Groups: b.session.Groups,
	})
	check(w.t, err)
	return browser{w, secret.Reveal(), s}
}

func (w *world) alice() browser { return w.login("alice", "support", "engineers") }
func (w *world) bob() browser   { return w.login("bob", "payments-leads", "data-leads") }
func (w *world) dave() browser  { return w.login("dave", "security") }

// do sends one request as a browser would from a page of the console.
func (b browser) do(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, in)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.secret != "" {
		r.AddCookie(&http.Cookie{Name: cookie, Value: b.secret})
	}
	for _, f := range change {
		f(r)
	}
	out := httptest.NewRecorder()
	b.pages.ServeHTTP(out, r)
	return out
}

// get returns a page that must be there.
func (b browser) get(path string) string {
	b.t.Helper()
	res := b.do("GET", path, "")
	if res.Code != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, res.Code, text(res.Body.String()))
	}
	return res.Body.String()
}

// post sends a form and wants a status.
func (b browser) post(path string, f url.Values, status int) *httptest.ResponseRecorder {
	b.t.Helper()
	res := b.do("POST", path, f.Encode())
	if res.Code != status {
		b.t.Fatalf("POST %s: %d, want %d: %s", path, res.Code, status, text(res.Body.String()))
	}
	return res
}

// fill returns the form of a page that posts to action, as it was filled in, with
// changes. Radio buttons that are not on, and buttons, are left out.
func fill(t testing.TB, page, action string, change map[string]string) url.Values {
	t.Helper()
	_, rest, ok := strings.Cut(page, `method="post" action="`+action+`"`)
	if !ok {
		t.Fatalf("no form to %s in: %s", action, text(page))
	}
	inside, _, _ := strings.Cut(rest, "</form>")
	out := url.Values{}
	for _, tag := range regexp.MustCompile(`<(?:input|textarea|select)[^>]*>`).FindAllString(inside, -1) {
		name, value := attribute(tag, "name"), attribute(tag, "value")
		if strings.Contains(tag, `type="radio"`) && !strings.Contains(tag, " checked") {
			continue
		}
		out.Set(name, value)
	}
	for name, value := range change {
		out.Set(name, value)
	}
	return out
}

func attribute(tag, name string) string {
	_, rest, ok := strings.Cut(tag, " "+name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return html.UnescapeString(value)
}

// text is what a reader sees of a page, roughly.
func text(page string) string {
	if _, body, ok := strings.Cut(page, "<main"); ok {
		page = body
	}
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))), " ")
}

func wants(t testing.TB, page string, all ...string) {
	t.Helper()
	seen := text(page)
	for _, one := range all {
		if !strings.Contains(seen, one) {
			t.Errorf("the page does not say %q: %s", one, seen)
		}
	}
}

func wantsNot(t testing.TB, page string, all ...string) {
	t.Helper()
	for _, one := range all {
		if strings.Contains(page, one) {
			t.Errorf("the page has %q: %s", one, page)
		}
	}
}

func refund() access.Ask {
	return access.Ask{Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "5000"}, Reason: "the parcel was lost"}
}

// asks makes a request as the person, which must wait.
func (b browser) asks(a access.Ask) access.Request {
	b.t.Helper()
	r, err := b.Request(b.t.Context(), b.caller(), a)
	check(b.t, err)
	return r
}

// granted makes a live grant of the person on reports, by rule.
func (b browser) granted() access.Request {
	b.t.Helper()
	r := b.asks(access.Ask{Entitlement: "reports/read"})
	if r.Grant.IsZero() {
		b.t.Fatalf("not granted: %s", r.Sentence)
	}
	return r
}

func (w *world) instance() feed.Instance {
	return feed.Instance{Sidecar: gateway, Run: strings.Repeat("1", 32)}
}

// join has one gateway run, whose lease holds.
func (w *world) join() feed.Instance {
	w.t.Helper()
	i := w.instance()
	_, err := w.Source().Join(w.t.Context(), i, &feed.Subscribe{Instance: i.String(), Version: "test", Reader: 2})
	check(w.t, err)
	_, err = w.Source().Beat(w.t.Context(), []feed.Beat{{Instance: i, Ping: &feed.Ping{Nonce: "n"}}})
	check(w.t, err)
	return i
}

// spool ships records of the gateway.
type spool struct {
	*world
	id       string
	instance feed.Instance
	head     [32]byte
	next     uint64
	trace    string // of its actions, "" not exported
}

func (w *world) spool() *spool {
	return &spool{world: w, id: grant.NewMinter().NewSpoolID(w.clock()).String(), instance: w.join(), next: 1}
}

func (s *spool) ship(bodies ...any) {
	s.t.Helper()
	first, prev := s.next, s.head
	var frames []byte
	for _, b := range bodies {
		kind := audit.TypeActionIntent
		switch b.(type) {
		case audit.Outcome:
			kind = audit.TypeActionOutcome
		case audit.Denied:
			kind = audit.TypeActionDenied
		}
		record, err := audit.Encode(audit.Record{
			ID: grant.NewMinter().NewRecordID(s.clock()).String(), Type: kind, Time: s.clock(), Node: s.instance.String(), Seq: s.next, Body: b,
		})
		check(s.t, err)
		frames, s.head, err = audit.AppendFrame(frames, s.head, record)
		check(s.t, err)
		s.next++
	}
	seg, err := audit.NewSegment(s.id, prev, first, frames)
	check(s.t, err)
	_, err = s.Source().Ingest(s.t.Context(), s.instance, &feed.IngestRequest{
		Spool: s.id, First: seg.First, Last: seg.Last, Frames: frames, Root: seg.Root[:], ChainHead: seg.ChainHead[:],
	})
	check(s.t, err)
}

// act ships one action under a grant, with its outcome unless result is empty.
func (s *spool) act(r access.Request, operation string, result audit.Result) string {
	s.t.Helper()
	id := grant.NewMinter().NewActionID(s.clock()).String()
	bodies := []any{audit.Intent{Grant: r.Grant.String(), Try: audit.Try{Action: id, App: r.App, Operation: operation, Class: "read", Trace: s.trace}}}
	if result != "" {
		bodies = append(bodies, audit.Outcome{Action: id, Result: result, Status: 200})
	}
	s.ship(bodies...)
	return id
}

// deny ships one refusal of somebody on an app.
func (s *spool) deny(p identity.Principal, app, operation string, attributes map[string]audit.Attr) string {
	s.t.Helper()
	m := grant.NewMinter()
	id := m.NewDenialID(s.clock()).String()
	s.ship(audit.Denied{Denial: id, Code: string(grant.NoGrant), Try: audit.Try{
		Action: m.NewActionID(s.clock()).String(), Principal: p.String(), App: app, Operation: operation, Attributes: attributes, Class: "read",
	}})
	return id
}

// state is everything that a GET could have changed.
func (w *world) state() string {
	w.t.Helper()
	var out strings.Builder
	check(w.t, w.db.View(w.t.Context(), func(tx access.Tx) error {
		size, err := tx.Log().Size(w.t.Context())
		if err != nil {
			return err
		}
		events, err := tx.Outbox().After(w.t.Context(), 0, 10000)
		if err != nil {
			return err
		}
		head, err := tx.Head().Feed(w.t.Context())
		if err != nil {
			return err
		}
		_, _ = io.WriteString(&out, strings.Join([]string{time.Duration(size).String(), time.Duration(len(events)).String(), time.Duration(head.Revision).String()}, " "))
		return nil
	}))
	return out.String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
