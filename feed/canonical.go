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

// object writes one JSON object. Its members are added in the order of their names.
type object struct{ b []byte }

func (o *object) name(n string) {
	if len(o.b) == 0 {
		o.b = append(o.b, '{')
	} else {
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
		o.text(n, base64.StdEncoding.EncodeToString(v))
	}
}

func (o *object) texts(n string, v []string) {
	list(o, n, v, appendText)
}

func (o *object) end() []byte {
	if len(o.b) == 0 {
		return []byte("{}")
	}
	return append(o.b, '}')
}

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

// listOf is list for messages.
func listOf[T any](o *object, n string, v []T, one func(T) []byte) {
	list(o, n, v, func(b []byte, item T) []byte { return append(b, one(item)...) })
}

// appendText writes a JSON string as RFC 8785 has it.
func appendText(b []byte, s string) []byte {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r >= 0x7f }) < 0 {
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

func grantJSON(g *Grant) []byte {
	o := object{b: make([]byte, 0, 512)}
	o.text("app", g.GetApp())
	o.text("class", g.GetClass())
	o.text("entitlement", g.GetEntitlement())
	o.number("not_after", g.GetNotAfterUs())
	o.number("not_before", g.GetNotBeforeUs())
	o.text("principal", g.GetPrincipal())
	o.text("pseudonym", g.GetPseudonym())
	o.text("request", g.GetRequest())
	listOf(&o, "rules", g.GetRules(), ruleJSON)
	return o.end()
}

func ruleJSON(r *Rule) []byte {
	var o object
	o.text("operation", r.GetOperation())
	listOf(&o, "where", r.GetWhere(), func(c *Constraint) []byte {
		var o object
		o.text("attribute", c.GetAttribute())
		o.text("op", c.GetOp())
		listOf(&o, "values", c.GetValues(), func(v *Value) []byte {
			var o object
			o.text("type", v.GetType())
			o.text("value", v.GetValue())
			return o.end()
		})
		return o.end()
	})
	return o.end()
}

func appJSON(a *App) []byte {
	var o object
	listOf(&o, "asks", a.GetAsks(), askJSON)
	o.truth("assert", a.GetAssert())
	o.texts("callers", a.GetCallers())
	o.text("catalogue", a.GetCatalogue())
	o.text("console", a.GetConsole())
	listOf(&o, "credentials", a.GetCredentials(), func(c *Credential) []byte {
		var o object
		o.texts("operations", c.GetOperations())
		o.text("secret", c.GetSecret())
		return o.end()
	})
	o.truth("guard", a.GetGuard())
	o.texts("hosts", a.GetHosts())
	listOf(&o, "identity", a.GetIdentity(), func(h *IdentityHeader) []byte {
		var o object
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
	listOf(&o, "places", a.GetPlaces(), placeJSON)
	o.number("stale_after", a.GetStaleAfterUs())
	steps := slices.SortedFunc(slices.Values(a.GetStepUp()), func(x, y *StepUp) int { return strings.Compare(x.GetEntitlement(), y.GetEntitlement()) })
	listOf(&o, "step_up", steps, func(s *StepUp) []byte {
		var o object
		o.texts("acr", s.GetAcr())
		o.text("entitlement", s.GetEntitlement())
		o.number("max_age", s.GetMaxAgeUs())
		return o.end()
	})
	o.text("upstream", a.GetUpstream())
	return o.end()
}

func askJSON(a *Ask) []byte {
	var o object
	listOf(&o, "bindings", a.GetBindings(), func(b *Binding) []byte {
		var o object
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

func placeJSON(p *Place) []byte {
	var o object
	o.truth("any_trust_domain", p.GetAnyTrustDomain())
	o.texts("elsewhere", p.GetElsewhere())
	o.text("environment", p.GetEnvironment())
	o.text("sidecar", p.GetSidecar())
	o.texts("trust_domains", p.GetTrustDomains())
	return o.end()
}

func sessionJSON(s *Session) []byte {
	var o object
	o.text("acr", s.GetAcr())
	o.text("app", s.GetApp())
	o.number("auth_time", s.GetAuthTimeUs())
	o.number("ends", s.GetEndsUs())
	var facts object
	for _, fact := range slices.Sorted(maps.Keys(s.GetFacts())) {
		facts.text(fact, s.GetFacts()[fact]) // names of facts need no escape
	}
	if len(facts.b) > 0 {
		o.name("facts")
		o.b = append(o.b, facts.end()...)
	}
	o.texts("groups", s.GetGroups())
	o.bytes("hash", s.GetHash())
	o.text("host", s.GetHost())
	o.text("person", s.GetPerson())
	o.text("principal", s.GetPrincipal())
	o.text("pseudonym", s.GetPseudonym())
	return o.end()
}

// keyJSON leaves the state out: a key verifies in every one.
func keyJSON(k *Key) []byte {
	var o object
	o.text("alg", k.GetAlg())
	o.text("issuer", k.GetIssuer())
	o.bytes("public_key", k.GetPublicKey())
	return o.end()
}
