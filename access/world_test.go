package access_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/metrics"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/trace"
)

// world is a Service over a real database with a clock that only the test moves,
// and the policy that the documentation shows.
type world struct {
	*access.Service
	t        testing.TB
	db       *sqlite.Store
	path     string // of the database
	store    access.Store
	files    map[string][]byte
	commit   string
	signing  *audit.Signer
	verifier *audit.Verifier
	provider *provider
	maxAge   time.Duration // of an identity; zero: as in production
	traces   *trace.Tracer // nil: off
	revoked  *metrics.Revocations
	settles  bool // commits wait, as in production; otherwise they enter into force at once

	moved time.Duration // that the wall clock was moved forward by; set between calls

	mu    sync.Mutex
	now   time.Time
	wakes int
	notes [][]byte
}

const firstCommit = "0000000000000000000000000000000000000001"

const consoleURL = "https://mayfly.acme.example"

const denialWait = 2 * time.Second

var epoch = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

const (
	alice      = "user:idp:alice"       // support
	aliceAdmin = "user:idp:alice-admin" // the same person, by policy
	bob        = "user:idp:bob"         // leads
	carol      = "user:idp:carol"       // leads, engineers
	dave       = "user:idp:dave"        // security; not listed under people:
	erin       = "user:idp:erin"        // of no group
	refunder   = "spiffe://acme.example/ns/pay/sa/refunder"
	gateway    = "spiffe://acme.example/gw/sidecar"
)

func newWorld(t testing.TB) *world {
	return newWorldOver(t, func(s access.Store) access.Store { return s })
}

// newWorldAged has identity providers asked again within another time.
func newWorldAged(t testing.TB, age time.Duration) *world {
	t.Helper()
	w := newWorld(t)
	w.maxAge = age
	w.again(func(s access.Store) access.Store { return s })
	return w
}

// newWorldTraced shows its traces to somebody, over a store that a test stands
// before.
func newWorldTraced(t testing.TB, traces *trace.Tracer, wrap func(access.Store) access.Store) *world {
	t.Helper()
	w := newWorld(t)
	w.traces = traces
	w.again(wrap)
	return w
}

// again starts the Service over a fresh database with the policy in force.
func (w *world) again(wrap func(access.Store) access.Store) {
	w.t.Helper()
	t := w.t
	path := filepath.Join(t.TempDir(), "mayfly.db")
	template, _ := templates.Load("db")
	if err := os.WriteFile(path, template.([]byte), 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(path, wrap)
}

// newWorldOver lets a test stand between the Service and its store.
func newWorldOver(t testing.TB, wrap func(access.Store) access.Store) *world {
	t.Helper()
	w := &world{t: t, now: epoch, files: exampleFiles(t), provider: newProvider()}
	path := filepath.Join(t.TempDir(), "mayfly.db")
	template, found := templates.Load("db")
	if found {
		if err := os.WriteFile(path, template.([]byte), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.open(path, wrap)
	if found {
		w.commit = firstCommit
		return w
	}
	w.apply("")
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	templates.Store("db", b)
	w.open(path, wrap)
	return w
}

// templates keeps the file of a database with the policy in force: making it
// takes longer than most tests.
var templates sync.Map

// open starts the Service over the database at path.
func (w *world) open(path string, wrap func(access.Store) access.Store) {
	w.t.Helper()
	t := w.t
	db, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: path, Now: w.clock,
		BootNow: func() time.Duration { return w.clock().Sub(epoch) - w.moved },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.db, w.path, w.store = db, path, wrap(db)
	key, public, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	if w.signing, err = audit.NewSigner(key); err != nil {
		t.Fatal(err)
	}
	if w.verifier, err = audit.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	w.Service, err = access.New(access.Config{
		Store: w.store, Signer: w.signing, Minter: grant.NewMinter(),
		Policy:  policy.Options{Catalogue: catalogues(t), GroupSources: []string{"idp"}},
		Console: consoleURL, DenialWait: denialWait, Seal: access.NewSealKey(), Identities: w.provider, IdentityMaxAge: w.maxAge, Traces: w.traces, Revoked: w.revoked, Unsettled: !w.settles,
		Wake:      func() { w.mu.Lock(); defer w.mu.Unlock(); w.wakes++ },
		Published: func(b []byte) { w.mu.Lock(); defer w.mu.Unlock(); w.notes = append(w.notes, b) },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) woken() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wakes
}

// apply puts w.files in force under the next commit, after a replacement.
func (w *world) apply(file string, replace ...string) access.PolicyResult {
	w.t.Helper()
	if file != "" {
		text := string(w.files[file])
		for i := 0; i+1 < len(replace); i += 2 {
			if !strings.Contains(text, replace[i]) {
				w.t.Fatalf("%s does not say %q", file, replace[i])
			}
			text = strings.Replace(text, replace[i], replace[i+1], 1)
		}
		w.files[file] = []byte(text)
	}
	next := firstCommit
	if next == w.commit {
		next = strings.Repeat("1", 40)
	}
	out, err := w.ApplyPolicy(w.t.Context(), access.PolicyCommit{Files: w.files, Commit: next, Signer: "sam", After: w.commit})
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit = next
	return out
}

// catalogues are those of the kinds stripe and web, in small.
func catalogues(t testing.TB) func(string) (*scope.Catalogue, bool) {
	t.Helper()
	charge := scope.AttributeSpec{Name: "charge", Type: scope.TypeString, Recordable: true}
	amount := scope.AttributeSpec{Name: "amount", Type: scope.TypeMinorUnits, Recordable: true}
	path := scope.AttributeSpec{Name: "path", Type: scope.TypePath, Required: true}
	made := map[string]*scope.Catalogue{}
	for kind, specs := range map[string][]scope.Spec{
		"stripe": {
			{Name: "refunds.create", Class: scope.ClassMoney, Attributes: []scope.AttributeSpec{charge, amount}},
			{Name: "charges.retrieve", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{charge}},
		},
		"web": {
			{Name: "http.get", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{path}},
			{Name: "http.head", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{path}},
			{Name: "http.options", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{path}},
		},
	} {
		c, err := scope.NewCatalogue(specs)
		if err != nil {
			t.Fatal(err)
		}
		made[kind] = c
	}
	return func(kind string) (*scope.Catalogue, bool) { c, ok := made[kind]; return c, ok }
}

func exampleFiles(t testing.TB) map[string][]byte {
	t.Helper()
	root, files := os.DirFS("../examples/policy"), map[string][]byte{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(files, caseFile)         // tests of bundles put it back: its entitlements could not go, or change, without it
	for name, text := range files { // the inline tests are policy's
		head, _, _ := strings.Cut(string(text), "\ntests:\n")
		files[name] = []byte(head + "\n")
	}
	return files
}

func principal(t testing.TB, text string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// as is a caller with the groups that its source tells now.
func (w *world) as(who string) access.Caller {
	w.t.Helper()
	groups := map[string]string{
		alice: "support", aliceAdmin: "payments-leads support", bob: "payments-leads data-leads engineers",
		carol: "payments-leads engineers", dave: "security",
	}
	return w.in(who, strings.Fields(groups[who])...)
}

func (w *world) in(who string, groups ...string) access.Caller {
	w.t.Helper()
	c := access.Caller{Principal: principal(w.t, who), GroupsAt: w.clock()}
	for _, name := range groups {
		g, err := identity.ParseGroup("group:idp/" + name)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

func refund() access.Ask {
	return access.Ask{Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "5000"}, Reason: "the parcel was lost"}
}

func reports() access.Ask { return access.Ask{Entitlement: "reports/read"} }

// ask requests and wants that state.
func (w *world) ask(c access.Caller, a access.Ask, want access.RequestState) access.Request {
	w.t.Helper()
	r, err := w.Request(w.t.Context(), c, a)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.State != want {
		w.t.Fatalf("request is %s (%s: %s), want %s", r.State, r.Code, r.Sentence, want)
	}
	return r
}

// granted makes a live refund grant of the refunder.
func (w *world) granted() access.Request {
	w.t.Helper()
	r := w.ask(w.as(refunder), refund(), access.Pending)
	r, err := w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if r.State != access.Approved || r.Grant.IsZero() {
		w.t.Fatalf("request is %s after its approval", r.State)
	}
	return r
}

func (w *world) instance(run string) feed.Instance {
	return feed.Instance{Sidecar: gateway, Run: strings.Repeat(run, 32)}
}

// join admits an instance and answers its first beat.
func (w *world) join(run string) feed.Instance {
	w.t.Helper()
	i := w.instance(run)
	if _, err := w.Source().Join(w.t.Context(), i, &feed.Subscribe{Instance: i.String(), Version: "test", Reader: 1}); err != nil {
		w.t.Fatal(err)
	}
	w.beat(i)
	return i
}

func (w *world) beat(all ...feed.Instance) feed.Pulse {
	w.t.Helper()
	var beats []feed.Beat
	for _, i := range all {
		beats = append(beats, feed.Beat{Instance: i, Ping: &feed.Ping{Nonce: "n"}})
	}
	p, err := w.Source().Beat(w.t.Context(), beats)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) view(f func(ctx context.Context, tx access.Tx) error) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.store.View(ctx, func(tx access.Tx) error { return f(ctx, tx) }); err != nil {
		w.t.Fatal(err)
	}
}

// leaves returns the types of all leaves, in order.
func (w *world) leaves() []audit.Record {
	w.t.Helper()
	var out []audit.Record
	w.view(func(ctx context.Context, tx access.Tx) error {
		size, err := tx.Log().Size(ctx)
		if err != nil {
			return err
		}
		raw, err := tx.Log().ReadLeaves(ctx, 0, size)
		for _, b := range raw {
			r, err := audit.Decode(b)
			if err != nil {
				return err
			}
			out = append(out, r)
		}
		return err
	})
	return out
}

func (w *world) types(from int) string {
	w.t.Helper()
	var out []string
	for _, r := range w.leaves()[from:] {
		out = append(out, string(r.Type))
	}
	return strings.Join(out, " ")
}

func (w *world) head() feed.Position {
	w.t.Helper()
	s, err := snapshotOf(w.t.Context(), w.Source(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.At
}

func wantCode(t testing.TB, err error, want access.Code) {
	t.Helper()
	if got := access.CodeOf(err); got != want {
		t.Fatalf("code %q (%v), want %q", got, err, want)
	}
}

type ctxT = context.Context

// shorten makes every cap of an entitlement ten minutes.
func shorten(file []byte) []byte {
	r := strings.NewReplacer("max: 2h, default: 30m", "max: 10m, default: 10m", "max: 8h, default: 30m", "max: 10m, default: 10m",
		"max: 4h, default: 1h", "max: 10m, default: 10m", "max: 1h, default: 30m", "max: 10m, default: 10m",
		"duration('30m')", "duration('5m')", "duration('1h')", "duration('5m')") // a rule that is always true is refused
	return []byte(r.Replace(string(file)))
}

// snapshotOf is what a source tells an instance that comes with nothing.
func snapshotOf(ctx context.Context, from feed.Source, apps []string) (out feedtest.Snapshot, err error) {
	err = from.Snapshot(ctx, apps, func(at feed.Position, some []*feed.Resource) error {
		out.At, out.Resources = at, append(out.Resources, some...)
		return nil
	})
	return out, err
}
