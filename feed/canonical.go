package feed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
)

// What an instance decides from, as canonical JSON: members by name, the empty ones
// left out, numbers as text. Written by hand, since each instance does it for a tenth
// of its table each second.

// object writes one JSON object behind what b held. Its members are added in the order
// of their names.
type object struct{ b []byte }

func begin(b []byte) object { return object{append(b, '{')} }

func (o *object) name(n string) {
	if o.b[len(o.b)-1] != '{' { // no member ends with one
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(o.b, '"'), n...), '"', ':')
}

func (o *object) text(n, v string) {
	if v != "" {
		o.name(n)
		o.b = appendText(o.b, v)
	}
}

func (o *object) number(n string, v int64) {
	if v != 0 {
		o.name(n)
		o.b = append(strconv.AppendInt(append(o.b, '"'), v, 10), '"')
	}
}

func (o *object) truth(n string, v bool) {
	if v {
		o.name(n)
		o.b = append(o.b, "true"...)
	}
}

func (o *object) bytes(n string, v []byte) {
	if len(v) > 0 {
		o.name(n)
		o.b = append(base64.StdEncoding.AppendEncode(append(o.b, '"'), v), '"')
	}
}

func (o *object) texts(n string, v []string) {
	list(o, n, v, appendText)
}

func (o *object) end() []byte { return append(o.b, '}') }

// list adds a list, each of its items written by one.
func list[T any](o *object, n string, v []T, one func([]byte, T) []byte) {
	if len(v) == 0 {
		return
	}
	o.name(n)
	o.b = append(o.b, '[')
	for i, item := range v {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = one(o.b, item)
	}
	o.b = append(o.b, ']')
}

// appendText writes a JSON string as RFC 8785 has it.
func appendText(b []byte, s string) []byte {
	if plain(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string: cannot fail
	// encoding/json writes these two escaped, RFC 8785 as they are.
	text := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(out.String(), "\n"))
	return append(b, text...)
}

// plain reports whether s stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

func appendGrant(b []byte, g *Grant) []byte {
	o := begin(b)
	o.text("app", g.GetApp())
	o.text("class", g.GetClass())
	o.text("entitlement", g.GetEntitlement())
	o.number("not_after", g.GetNotAfterUs())
	o.number("not_before", g.GetNotBeforeUs())
	o.text("principal", g.GetPrincipal())
	o.text("pseudonym", g.GetPseudonym())
	o.text("request", g.GetRequest())
	list(&o, "rules", g.GetRules(), appendRule)
	return o.end()
}

func appendRule(b []byte, r *Rule) []byte {
	o := begin(b)
	o.text("operation", r.GetOperation())
	list(&o, "where", r.GetWhere(), appendConstraint)
	return o.end()
}

func appendConstraint(b []byte, c *Constraint) []byte {
	o := begin(b)
	o.text("attribute", c.GetAttribute())
	o.text("op", c.GetOp())
	list(&o, "values", c.GetValues(), appendValue)
	return o.end()
}

func appendValue(b []byte, v *Value) []byte {
	o := begin(b)
	o.text("type", v.GetType())
	o.text("value", v.GetValue())
	return o.end()
}

func appendApp(b []byte, a *App) []byte {
	o := begin(b)
	list(&o, "asks", a.GetAsks(), appendAsk)
	o.truth("assert", a.GetAssert())
	o.texts("callers", a.GetCallers())
	o.text("catalogue", a.GetCatalogue())
	o.text("console", a.GetConsole())
	list(&o, "credentials", a.GetCredentials(), func(b []byte, c *Credential) []byte {
		o := begin(b)
		o.texts("operations", c.GetOperations())
		o.text("secret", c.GetSecret())
		return o.end()
	})
	o.truth("guard", a.GetGuard())
	o.texts("hosts", a.GetHosts())
	list(&o, "identity", a.GetIdentity(), func(b []byte, h *IdentityHeader) []byte {
		o := begin(b)
		o.text("fact", h.GetFact())
		o.text("header", h.GetHeader())
		return o.end()
	})
	o.text("kind", a.GetKind())
	stream := a.GetMaxStreamUs()
	switch {
	case stream == 0 && a.GetGuard():
		stream = grant.MaxTerm.Microseconds()
	case stream == 0:
		stream = DefaultMaxStream.Microseconds()
	}
	o.number("max_stream", stream)
	o.text("name", a.GetName())
	if a.GetObserve() != nil {
		o.name("observe")
		inner := begin(o.b)
		inner.number("until", a.GetObserve().GetUntilUs())
		o.b = inner.end()
	}
	list(&o, "places", a.GetPlaces(), appendPlace)
	o.number("stale_after", a.GetStaleAfterUs())
	steps := slices.SortedFunc(slices.Values(a.GetStepUp()), func(x, y *StepUp) int { return strings.Compare(x.GetEntitlement(), y.GetEntitlement()) })
	list(&o, "step_up", steps, func(b []byte, s *StepUp) []byte {
		o := begin(b)
		o.texts("acr", s.GetAcr())
		o.text("entitlement", s.GetEntitlement())
		o.number("max_age", s.GetMaxAgeUs())
		return o.end()
	})
	o.text("upstream", a.GetUpstream())
	return o.end()
}

func appendAsk(b []byte, a *Ask) []byte {
	o := begin(b)
	list(&o, "bindings", a.GetBindings(), func(to []byte, b *Binding) []byte {
		o := begin(to)
		o.text("attribute", b.GetAttribute())
		o.text("op", b.GetOp())
		o.text("operation", b.GetOperation())
		o.text("param", b.GetParam())
		return o.end()
	})
	o.text("entitlement", a.GetEntitlement())
	o.texts("kinds", a.GetKinds())
	o.texts("operations", a.GetOperations())
	o.texts("required", a.GetRequired())
	return o.end()
}

func appendPlace(b []byte, p *Place) []byte {
	o := begin(b)
	o.truth("any_trust_domain", p.GetAnyTrustDomain())
	o.texts("elsewhere", p.GetElsewhere())
	o.text("environment", p.GetEnvironment())
	o.text("sidecar", p.GetSidecar())
	o.texts("trust_domains", p.GetTrustDomains())
	return o.end()
}

func appendSession(b []byte, s *Session) []byte {
	o := begin(b)
	o.text("acr", s.GetAcr())
	o.text("app", s.GetApp())
	o.number("auth_time", s.GetAuthTimeUs())
	o.number("ends", s.GetEndsUs())
	if facts := factsOf(s); len(facts) > 0 {
		o.name("facts")
		inner := begin(o.b)
		for _, fact := range facts {
			inner.text(fact, s.GetFacts()[fact]) // names of facts need no escape
		}
		o.b = inner.end()
	}
	o.texts("groups", s.GetGroups())
	o.bytes("hash", s.GetHash())
	o.text("host", s.GetHost())
	o.text("person", s.GetPerson())
	o.text("principal", s.GetPrincipal())
	o.text("pseudonym", s.GetPseudonym())
	return o.end()
}

// appendKey leaves the state out: a key verifies in every one.
func appendKey(b []byte, k *Key) []byte {
	o := begin(b)
	o.text("alg", k.GetAlg())
	o.text("issuer", k.GetIssuer())
	o.bytes("public_key", k.GetPublicKey())
	return o.end()
}

// factsOf returns the names of those that say something, sorted.
func factsOf(s *Session) []string {
	names := slices.Sorted(maps.Keys(s.GetFacts()))
	return slices.DeleteFunc(names, func(n string) bool { return s.GetFacts()[n] == "" })
}
