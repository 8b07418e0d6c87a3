package proxy

import (
	"encoding/binary"
	"unique"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// packed is a grant as the feed told it, in few bytes and fewer pointers: a gateway may
// hold a million (docs/performance.md). What grants have in common stands in memory
// once, for as long as any of them does. It is all that a decision reads of a grant:
// two that say the same are ==, and two that do not are not.
type packed struct {
	id        grant.GrantID
	request   grant.RequestID
	notBefore int64 // µs since 1970, as the feed has it; 0: none
	notAfter  int64
	who       unique.Handle[owner]
	terms     unique.Handle[string] // app, class, entitlement, and the rules but for values
	values    string                // of the constraints that have one each, in their order
}

// owner is whose a grant is.
type owner struct {
	principal identity.Principal
	pseudonym string
}

// pack returns what there is to hold of g: all but its marks.
func pack(g grant.Grant) packed {
	where, values := 0, 0
	for _, r := range g.Scope.Rules {
		where += len(r.Where)
		for _, c := range r.Where {
			values += len(c.Values)
		}
	}
	terms, own := make([]byte, 0, 256), make([]byte, 0, 128)
	terms = appendText(terms, g.Scope.App)
	terms = append(terms, byte(g.Class))
	terms = appendText(terms, g.Entitlement)
	for _, n := range [...]int{len(g.Scope.Rules), where, values} {
		terms = binary.AppendUvarint(terms, uint64(n))
	}
	for _, r := range g.Scope.Rules {
		terms = appendText(terms, r.Operation)
		terms = binary.AppendUvarint(terms, uint64(len(r.Where)))
		for _, c := range r.Where {
			terms = appendText(terms, c.Attribute)
			terms = appendText(terms, string(c.Comparison))
			terms = binary.AppendUvarint(terms, uint64(len(c.Values)))
			for _, v := range c.Values {
				terms = append(terms, byte(v.Type()))
				if len(c.Values) == 1 { // most often a parameter's, and so the grant's own
					own = appendValue(own, v)
				} else {
					terms = appendValue(terms, v)
				}
			}
		}
	}
	return packed{
		id: g.ID, request: g.Request, notBefore: microsOf(g.NotBefore), notAfter: microsOf(g.NotAfter),
		who: unique.Make(owner{g.Principal, g.Pseudonym}), terms: unique.Make(string(terms)), values: string(own),
	}
}

// term returns the grant but for its scope, class and entitlement: what a last look
// needs. It allocates nothing.
func (p *packed) term() grant.Grant {
	who := p.who.Value()
	return grant.Grant{
		ID: p.id, Request: p.request, Principal: who.principal, Pseudonym: who.pseudonym,
		NotBefore: feed.TimeOf(p.notBefore), NotAfter: feed.TimeOf(p.notAfter),
	}
}

// app returns the name of its app.
func (p *packed) app() string {
	terms := unpacker{text: p.terms.Value()}
	return terms.word()
}

// unpack returns the grant. One that cannot be read has no scope, and permits nothing.
func (p *packed) unpack() grant.Grant {
	var o opener
	return o.open(p)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendValue writes a value but for its type.
func appendValue(b []byte, v scope.Value) []byte {
	switch v.Type() {
	case scope.TypeString, scope.TypePath:
		return appendText(b, v.String())
	case scope.TypeMoney:
		m, _ := v.Money()
		return appendText(binary.AppendVarint(b, m.Minor), m.Currency)
	default:
		return binary.AppendVarint(b, v.Int())
	}
}

// unpacker reads what pack wrote. Texts are parts of its own. What cannot be read is
// zero, and leaves something over.
type unpacker struct {
	text string
	bad  bool
}

// over reports whether all was read, and nothing else.
func (u *unpacker) over() bool { return !u.bad && u.text == "" }

func (u *unpacker) byte() byte {
	if u.text == "" {
		u.bad = true
		return 0
	}
	b := u.text[0]
	u.text = u.text[1:]
	return b
}

func (u *unpacker) number() (n uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := u.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	u.bad = true
	return 0
}

// count reads how many follow: each takes a byte at least, but for values elsewhere,
// whose types do.
func (u *unpacker) count() int {
	n := u.number()
	if n > uint64(len(u.text)) {
		u.bad = true
		return 0
	}
	return int(n)
}

func (u *unpacker) word() string {
	n := u.count()
	s := u.text[:n]
	u.text = u.text[n:]
	return s
}

func (u *unpacker) integer() int64 {
	n := u.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacker) value(t scope.Type) scope.Value {
	switch t {
	case scope.TypeString:
		return scope.Text(u.word())
	case scope.TypePath:
		return scope.Path(u.word())
	case scope.TypeInteger:
		return scope.Integer(u.integer())
	case scope.TypeMinorUnits:
		return scope.MinorUnits(u.integer())
	case scope.TypeBoolean:
		return scope.Boolean(u.integer() == 1)
	case scope.TypeMoney:
		n := u.integer()
		return scope.OfMoney(scope.Money{Minor: n, Currency: u.word()})
	default:
		u.bad = true
		return scope.Value{}
	}
}
