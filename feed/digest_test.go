package feed_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/feed"
)

// The bytes are a contract between binaries of different versions: a change here
// puts every gateway in quarantine.
func TestADigestNeverChanges(t *testing.T) {
	for want, r := range map[string]*feed.Resource{
		"5cd2b1889d58d19b": wholeGrant(),
		"e3bbe24346b90c92": {Id: "wiki", Resource: &feed.Resource_App{App: &feed.App{
			Name: "wiki", Kind: "web", Hosts: []string{"wiki.acme.example"}, Upstream: "http://127.0.0.1:1", StaleAfterUs: 5e6,
		}}},
		"f7ef3cbf2167e619": {Id: "ses_1", Resource: &feed.Resource_Session{Session: &feed.Session{
			Hash: bytes.Repeat([]byte{7}, 32), Principal: "user:idp:a", App: "wiki", EndsUs: 1, Facts: map[string]string{"name": "Ada \"\u2028é\x01", "email": "a@b"},
		}}},
		"2f7de76be6911b7b": {Id: "kid", Resource: &feed.Resource_Key{Key: &feed.Key{PublicKey: []byte{1}, Alg: "ES256", State: "next", Issuer: "https://m"}}},
	} {
		d, ok := feed.DigestOf(r)
		if got := hex.EncodeToString(d.Bytes())[:16]; !ok || got != want {
			t.Errorf("%s: %s", r.GetId(), got)
		}
	}
	if _, ok := feed.DigestOf(&feed.Resource{Id: "c/a", Resource: &feed.Resource_Proof{Proof: &feed.Proof{Commit: "c"}}}); ok {
		t.Error("a proof is counted: instances check it, and hold none")
	}
}

func wholeGrant() *feed.Resource {
	return &feed.Resource{Id: "grt_1", MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
		Request: "req_1", Principal: "spiffe://acme.example/a", Pseudonym: "p_1", App: "stripe", Entitlement: "stripe/refunds", Class: "money",
		NotBeforeUs: 1, NotAfterUs: 2, Rules: []*feed.Rule{{Operation: "refunds.create", Where: []*feed.Constraint{
			{Attribute: "charge", Op: "is", Values: []*feed.Value{{Type: "string", Value: "ch_1"}}},
		}}},
	}}}
}

// Whatever a decision reads of a grant shows in its digest; what proves it does not,
// since instances check that and do not hold it.
func TestADigestShowsEveryFieldThatIsDecidedFrom(t *testing.T) {
	base, _ := feed.DigestOf(wholeGrant())
	change := func(f func(*feed.Grant)) feed.Digest {
		r := wholeGrant()
		f(r.GetGrant())
		d, _ := feed.DigestOf(r)
		return d
	}
	seen := []feed.Digest{base}
	for name, f := range map[string]func(*feed.Grant){
		"request":     func(g *feed.Grant) { g.Request = "req_2" },
		"principal":   func(g *feed.Grant) { g.Principal = "spiffe://acme.example/b" },
		"pseudonym":   func(g *feed.Grant) { g.Pseudonym = "p_2" },
		"app":         func(g *feed.Grant) { g.App = "wiki" },
		"entitlement": func(g *feed.Grant) { g.Entitlement = "stripe/all" },
		"class":       func(g *feed.Grant) { g.Class = "read" },
		"not before":  func(g *feed.Grant) { g.NotBeforeUs = 2 },
		"not after":   func(g *feed.Grant) { g.NotAfterUs = 3 },
		"operation":   func(g *feed.Grant) { g.Rules[0].Operation = "payouts.create" },
		"no rule":     func(g *feed.Grant) { g.Rules = nil },
		"no where":    func(g *feed.Grant) { g.Rules[0].Where = nil },
		"attribute":   func(g *feed.Grant) { g.Rules[0].Where[0].Attribute = "amount" },
		"op":          func(g *feed.Grant) { g.Rules[0].Where[0].Op = "prefix" },
		"type":        func(g *feed.Grant) { g.Rules[0].Where[0].Values[0].Type = "money" },
		"value":       func(g *feed.Grant) { g.Rules[0].Where[0].Values[0].Value = "ch_2" },
	} {
		d := change(f)
		if slices.Contains(seen, d) {
			t.Errorf("%s does not show", name)
		}
		seen = append(seen, d)
	}
	if change(func(g *feed.Grant) {
		g.Offer, g.Catalogue, g.Recorded, g.Params = []byte("o"), "c", &feed.Recorded{Index: 1}, map[string]string{"a": "b"}
	}) != base {
		t.Error("what is not decided from shows")
	}
}

func TestSumsOfDigestsHaveNoOrder(t *testing.T) {
	one, _ := feed.DigestOf(wholeGrant())
	max := feed.Digest{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	if max.Plus(one).Minus(max) != one || one.Minus(max).Plus(max) != one || max.Plus(feed.Digest{1}) != (feed.Digest{}) {
		t.Error("not sums mod 2^256")
	}
	back, err := feed.ParseDigest(one.Bytes())
	if err != nil || back != one {
		t.Errorf("%v, %v", back, err)
	}
	if _, err := feed.ParseDigest(one.Bytes()[1:]); err == nil {
		t.Error("31 bytes are a digest")
	}
}

// told keeps beside a Book what an instance would hold, counted anew each time.
type told struct {
	*feed.Book
	revision int64
	held     map[string]*feed.Resource
}

func (w *told) change(app string, put []*feed.Resource, gone ...string) {
	w.revision++
	c := feed.Change{At: feed.Position{Epoch: 1, Revision: w.revision}, App: app, Resources: put}
	for _, id := range gone {
		c.Removals = append(c.Removals, &feed.Removal{Kind: feed.KindGrant, Id: id})
		delete(w.held, id)
	}
	for _, r := range put {
		w.held[r.GetId()] = r
	}
	w.Apply(c)
}

func (w *told) ping(apps ...string) *feed.Ping {
	p := &feed.Ping{Epoch: 1, Revision: w.revision, Digests: map[string][]byte{}}
	for _, app := range append(apps, feed.Everyone) {
		var sum feed.Digest
		for _, r := range w.held {
			if one, ok := feed.DigestOf(r); ok && feed.CountsFor(r) == app {
				sum = sum.Plus(one)
			}
		}
		p.Digests[app] = sum.Bytes()
	}
	return p
}

func fedGrant(app, id string, end int64) *feed.Resource {
	r := wholeGrant()
	r.Id, r.GetGrant().App, r.GetGrant().NotAfterUs = id, app, end
	return r
}

func TestABookKnowsWhatWasToldAtEachRevision(t *testing.T) {
	w := &told{Book: feed.NewBook(feed.Position{Epoch: 1}), held: map[string]*feed.Resource{}}
	random := rand.New(rand.NewPCG(1, 2))
	var pings []*feed.Ping
	for range 1500 {
		id := string(rune('a' + random.IntN(20)))
		if w.held[id] != nil && random.IntN(2) == 0 {
			w.change("stripe", nil, id)
		} else {
			w.change("stripe", []*feed.Resource{fedGrant("stripe", id, random.Int64N(3))})
		}
		pings = append(pings, w.ping("stripe"))
	}
	for i, p := range pings {
		want := feed.Equal
		if i < 1500-1024-1 {
			want = feed.TooOld
		}
		if o, apps := w.Judge(p, []string{"stripe"}); o != want {
			t.Fatalf("revision %d of 1500: %v %v, want %v", i+1, o, apps, want)
		}
		p.Digests["stripe"][31]++
		if o, _ := w.Judge(p, []string{"stripe"}); want == feed.Equal && o != feed.Different {
			t.Fatalf("revision %d: another sum is %v", i+1, o)
		}
	}
}

func TestABookJudgesOnlyWhatItCan(t *testing.T) {
	w := &told{Book: feed.NewBook(feed.Position{Epoch: 1}), held: map[string]*feed.Resource{}}
	key := &feed.Resource{Id: "kid", Resource: &feed.Resource_Key{Key: &feed.Key{Alg: "ES256"}}}
	session := &feed.Resource{Id: "ses_1", Resource: &feed.Resource_Session{Session: &feed.Session{App: "wiki"}}}
	w.change("stripe", []*feed.Resource{fedGrant("stripe", "a", 1)})
	w.change("wiki", []*feed.Resource{fedGrant("wiki", "b", 1), session})
	w.change(feed.Everyone, []*feed.Resource{key})
	both := []string{"stripe", "wiki"}
	judge := func(p *feed.Ping, fronted []string) string {
		o, apps := w.Judge(p, fronted)
		return [...]string{"unknown", "equal", "different", "too old"}[o] + " " + strings.Join(apps, " ")
	}
	change := func(f func(p *feed.Ping)) *feed.Ping {
		p := proto.CloneOf(w.ping(both...))
		f(p)
		return p
	}
	for name, c := range map[string]struct {
		p    *feed.Ping
		want string
	}{
		"equal":                    {w.ping(both...), "equal "},
		"of a binary without them": {change(func(p *feed.Ping) { p.Digests = nil }), "unknown "},
		"further than the book":    {change(func(p *feed.Ping) { p.Revision++ }), "unknown "},
		"of another epoch":         {change(func(p *feed.Ping) { p.Epoch = 0 }), "too old "},
		"of fewer apps":            {w.ping("stripe"), "too old "},
		"of more apps":             {w.ping("stripe", "wiki", "x"), "too old "},
		"zero":                     {change(func(p *feed.Ping) { p.Digests["wiki"] = feed.Digest{}.Bytes() }), "different wiki"},
		"no session":               {change(func(p *feed.Ping) { d, _ := feed.DigestOf(key); p.Digests["*"] = d.Bytes() }), "different *"},
		"refused, and left out": {change(func(p *feed.Ping) {
			p.Digests["stripe"], p.Unheld = feed.Digest{}.Bytes(), []*feed.Unheld{{Kind: "grant", Id: "a"}, {Id: "a"}}
		}), "equal "},
		"refused, of a kind not known": {change(func(p *feed.Ping) {
			d, _ := feed.DigestOf(session)
			p.Digests["*"], p.Unheld = d.Bytes(), []*feed.Unheld{{Id: "kid"}}
		}), "equal "},
		"refused, and held": {change(func(p *feed.Ping) { p.Unheld = []*feed.Unheld{{Kind: "grant", Id: "a"}} }), "different stripe"},
	} {
		if got := judge(c.p, both); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := judge(change(func(p *feed.Ping) { // what was refused has changed since
		p.Digests["stripe"], p.Unheld = feed.Digest{}.Bytes(), []*feed.Unheld{{Kind: "grant", Id: "a"}}
		w.change("stripe", []*feed.Resource{fedGrant("stripe", "a", 2)})
	}), both); got != "equal " {
		t.Errorf("refused before it changed: %s", got)
	}
}

// textOf is the canonical JSON of a grant, by a writer that shares nothing with ours.
func textOf(g *feed.Grant) map[string]any {
	rules := []any{}
	for _, r := range g.GetRules() {
		where := []any{}
		for _, c := range r.GetWhere() {
			values := []any{}
			for _, v := range c.GetValues() {
				values = append(values, members("type", v.GetType(), "value", v.GetValue()))
			}
			where = append(where, members("attribute", c.GetAttribute(), "op", c.GetOp(), "values", values))
		}
		rules = append(rules, members("operation", r.GetOperation(), "where", where))
	}
	return members("request", g.GetRequest(), "principal", g.GetPrincipal(), "pseudonym", g.GetPseudonym(), "app", g.GetApp(), "entitlement", g.GetEntitlement(),
		"class", g.GetClass(), "not_before", number(g.GetNotBeforeUs()), "not_after", number(g.GetNotAfterUs()), "rules", rules)
}

// number writes zero as nothing, as a field that is not set.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func members(pairs ...any) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if list, ok := pairs[i+1].([]any); pairs[i+1] != "" && (!ok || len(list) > 0) {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	return out
}

func TestADigestIsOfRFC8785(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "0", "a\"\\/<&>\x00\x1f\x7f\n\u2028\u2029é😀", "plain"}))
	value := rapid.Custom(func(rt *rapid.T) *feed.Value {
		return &feed.Value{Type: text.Draw(rt, "type"), Value: text.Draw(rt, "value")}
	})
	constraint := rapid.Custom(func(rt *rapid.T) *feed.Constraint {
		return &feed.Constraint{Attribute: text.Draw(rt, "attribute"), Op: text.Draw(rt, "op"), Values: rapid.SliceOfN(value, 0, 2).Draw(rt, "values")}
	})
	rule := rapid.Custom(func(rt *rapid.T) *feed.Rule {
		return &feed.Rule{Operation: text.Draw(rt, "operation"), Where: rapid.SliceOfN(constraint, 0, 2).Draw(rt, "where")}
	})
	var again feed.Digester
	rapid.Check(t, func(rt *rapid.T) {
		g := &feed.Grant{
			Request: text.Draw(rt, "request"), Principal: text.Draw(rt, "principal"), Pseudonym: text.Draw(rt, "pseudonym"), App: text.Draw(rt, "app"),
			Entitlement: text.Draw(rt, "entitlement"), Class: text.Draw(rt, "class"), NotBeforeUs: rapid.Int64().Draw(rt, "from"), NotAfterUs: rapid.Int64().Draw(rt, "to"),
			Rules: rapid.SliceOfN(rule, 0, 2).Draw(rt, "rules"),
		}
		r := &feed.Resource{Id: text.Draw(rt, "id"), Resource: &feed.Resource_Grant{Grant: g}}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(textOf(g)); err != nil {
			rt.Fatal(err)
		}
		body := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(out.String(), "\n"))
		sum := sha256.Sum256([]byte("grant\x00" + r.GetId() + "\x00" + body))
		if d, ok := again.Of(r); !ok || !bytes.Equal(d.Bytes(), sum[:]) {
			rt.Fatalf("not the digest of %q", body)
		}
	})
}

func TestADigesterAllocatesNothingForGrants(t *testing.T) {
	var d feed.Digester
	r := wholeGrant()
	if n := testing.AllocsPerRun(100, func() { d.Of(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
