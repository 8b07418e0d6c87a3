package policy

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// readMain reads mayfly.yaml. People come first: everything else may name them.
func (l *loader) readMain(n *node) {
	f := l.object(n, schema{
		what:  mainFile,
		known: []string{"organisation", "caps", "environments", "trust_domains", "nodes", "workloads", "people", "signers", "signatures", "settle", "security"},
		later: []string{"agents", "budgets", "callers", "channels", "conflicts", "review", "risk", "streams"},
	})
	l.set.organisation = l.name(f.need("organisation"), "organisation", false)
	l.readCaps(f.need("caps"))
	l.readPeople(f.opt("people"))
	l.readSigners(f.opt("signers"))
	l.readSignatures(f.opt("signatures"))
	l.readSettle(f.opt("settle"))
	l.readSecurity(f.need("security"))
	for _, e := range l.texts(f.opt("environments"), "environments") {
		if !validLabel(e) {
			l.fail(f.opt("environments"), CodeValue, "environments: %q, want a name of a-z, 0-9 and -", e)
		}
		l.set.environments = append(l.set.environments, e)
	}
	l.readTrustDomains(f.opt("trust_domains"))
	l.readOwned(f.opt("workloads"))
	if nodes := f.opt("nodes"); nodes != nil {
		for _, item := range l.list(nodes, "nodes") {
			l.readNode(item)
		}
	}
}

func (l *loader) readCaps(n *node) {
	if n == nil {
		return
	}
	f := l.object(n, schema{what: "caps", known: []string{"grant", "pending_per_principal"}, later: []string{"budget", "held", "window", "renew"}})
	l.set.caps.Grant = l.duration(f.need("grant"), "caps.grant")
	if l.set.caps.Grant > grant.MaxTerm {
		l.fail(f.opt("grant"), CodeCap, "caps.grant: %s, want at most %s: no grant is longer, whatever policy says", durationText(l.set.caps.Grant), durationText(grant.MaxTerm))
	}
	l.set.caps.PendingPerPrincipal = l.integer(f.need("pending_per_principal"), "caps.pending_per_principal", 1, 1000)
}

func (l *loader) readPeople(n *node) {
	if n == nil {
		return
	}
	for _, item := range l.list(n, "people") {
		f := l.object(item, schema{what: "people", known: []string{"person", "accounts", "keys"}})
		at := f.need("person")
		name := l.text(at, "person")
		person, err := identity.NamedPerson(name)
		if name != "" && err != nil {
			l.fail(at, CodeValue, "people: %v", err)
		}
		if l.persons[name] && name != "" {
			l.fail(at, CodeDuplicate, "people: person %s is there twice", name)
		}
		l.persons[name] = true
		accounts := l.list(f.need("accounts"), "accounts")
		if name == "" || err != nil {
			continue
		}
		for _, a := range accounts {
			l.readAccount(a, person)
		}
		l.readApproverKeys(f.opt("keys"), person)
	}
}

func (l *loader) readAccount(n *node, person identity.Person) {
	text := l.text(n, "accounts")
	if text == "" {
		return
	}
	p, err := identity.ParsePrincipal(text)
	if err != nil || p.Kind() != identity.KindUser {
		l.fail(n, CodeValue, "accounts: %q, want user:<idp>:<subject>", text)
		return
	}
	if other, ok := l.set.people[p]; ok {
		l.fail(n, CodeDuplicate, "accounts: %s already belongs to %s", p, other)
		return
	}
	l.set.people[p] = person
	l.set.accounts[person.String()] = append(l.set.accounts[person.String()], p)
}

// readApproverKeys reads the keys that a person signs approvals with: one of ssh and
// passkey each. What a key is, is for whoever checks signatures; a key of two
// persons would let one approve as the other.
func (l *loader) readApproverKeys(n *node, person identity.Person) {
	if n == nil {
		return
	}
	for _, item := range l.list(n, "keys") {
		f := l.object(item, schema{what: "keys", known: []string{"ssh", "passkey"}})
		if f == nil {
			continue
		}
		if f.has("ssh") == f.has("passkey") {
			l.fail(item, CodeValue, "keys: want either ssh or passkey")
			continue
		}
		k := ApproverKey{Sort: "ssh", Text: l.text(f.opt("ssh"), "ssh")}
		if f.has("passkey") {
			k = ApproverKey{Sort: "passkey", Text: l.text(f.opt("passkey"), "passkey")}
		}
		if k.Text == "" {
			continue
		}
		name := k.Sort + " " + k.Text
		if l.o.ApproverKey != nil {
			var err error
			if name, err = l.o.ApproverKey(k.Sort, k.Text); err != nil {
				l.fail(item, CodeValue, "keys: %v", err)
				continue
			}
		}
		if other, taken := l.keyOf[name]; taken {
			l.fail(item, CodeDuplicate, "keys: the same key is there for %s", other)
		}
		l.keyOf[name] = person
		l.set.keys[person.String()] = append(l.set.keys[person.String()], k)
	}
}

func (l *loader) readSigners(n *node) {
	if n == nil {
		return
	}
	for _, item := range l.list(n, "signers") {
		f := l.object(item, schema{what: "signers", known: []string{"person", "key"}})
		at := f.need("person")
		person := l.text(at, "person")
		if person != "" && !l.persons[person] {
			l.fail(at, CodeUnknownName, "signers: no person %q under people:%s", person, didYouMean(person, keys(l.persons)))
		}
		l.readKey(f.need("key"), person)
	}
}

func (l *loader) readKey(n *node, person string) {
	key := l.text(n, "key")
	if key == "" {
		return
	}
	if !validKey(key) {
		l.fail(n, CodeValue, "key: want an OpenSSH public key as algorithm and base64, one of %s", strings.Join(keyTypes(), ", "))
		return
	}
	if slices.ContainsFunc(l.set.signers, func(s Signer) bool { return s.Key == key }) {
		l.fail(n, CodeDuplicate, "key: the same key is there twice")
		return
	}
	l.set.signers = append(l.set.signers, Signer{Person: person, Key: key})
}

// readSignatures reads how many persons must have signed a commit. More than there
// are signers would be the last policy for good.
func (l *loader) readSignatures(n *node) {
	l.set.signatures = 1
	if n == nil {
		return
	}
	l.set.signatures = l.integer(n, "signatures", 1, 20)
	persons := map[string]bool{}
	for _, s := range l.set.signers {
		persons[s.Person] = true
	}
	if l.set.signatures > len(persons) {
		l.fail(n, CodeNobody, "signatures: %d, and %d persons are under signers: no further commit could ever enter into force", l.set.signatures, len(persons))
	}
}

// DefaultSettle is how long a commit waits from which somebody gains, unless policy
// says else.
const DefaultSettle = 15 * time.Minute

// Bounds of settle.
const (
	minSettle = time.Minute
	maxSettle = 7 * 24 * time.Hour
)

func (l *loader) readSettle(n *node) {
	l.set.settle = DefaultSettle
	if n == nil {
		return
	}
	if l.set.settle = l.duration(n, "settle"); l.set.settle != 0 && (l.set.settle < minSettle || l.set.settle > maxSettle) {
		l.fail(n, CodeCap, "settle: %s, want %s to %s: in this time somebody else sees what a commit gives, and can hold it", durationText(l.set.settle), durationText(minSettle), durationText(maxSettle))
	}
}

func keyTypes() []string {
	return []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"}
}

// validKey checks the outside of a key (RFC 4253 §6.6); whether its numbers are
// a key is found by who verifies with it.
func validKey(s string) bool {
	typ, data, ok := strings.Cut(s, " ")
	b, err := base64.StdEncoding.Strict().DecodeString(data)
	if !ok || err != nil || !slices.Contains(keyTypes(), typ) || len(b) < 4 {
		return false
	}
	n := binary.BigEndian.Uint32(b)
	return uint64(n) < uint64(len(b)-4) && string(b[4:4+n]) == typ
}

func (l *loader) readSecurity(n *node) {
	text := l.text(n, "security")
	if text == "" {
		return
	}
	g, err := identity.ParseGroup(text)
	if err != nil {
		l.fail(n, CodeValue, "security: %v", err)
		return
	}
	l.groupSource(n, "security", g)
	l.set.security = g
}
