package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Set is one whole, checked policy. It is immutable and safe for concurrent
// use; callers do not change what it returns.
type Set struct {
	digest, commit string
	files          map[string][]byte
	organisation   string
	caps           Caps
	environments   []string
	domains        []TrustDomain
	owned          []Owned
	apps           map[string]App
	hosts          map[string]string
	catalogues     map[string]*scope.Catalogue // by app
	entitlements   map[string]*Entitlement
	bundles        map[string]Bundle
	exceptions     map[string]Exception
	excuses        map[excuse]string // name of the exception
	personas       map[string]Persona
	nodes          []Node
	people         map[identity.Principal]identity.Person
	accounts       map[string][]identity.Principal // by person's name
	keys           map[string][]ApproverKey        // by person's name
	signers        []Signer
	signatures     int           // persons who must have signed a commit
	settle         time.Duration // that a commit waits from which somebody gains
	security       identity.Group
}

// Caps bound every entitlement and requester.
type Caps struct {
	Grant               time.Duration // longest grant, at most grant.MaxTerm
	PendingPerPrincipal int           // undecided requests of one principal
}

// Node is a registered sidecar identity and what it may do.
type Node struct {
	Sidecar     identity.Principal
	Listener    identity.Principal
	Role        string // gateway
	Apps        []string
	Environment string
}

// Signer may sign commits of this policy.
type Signer struct {
	Person string // a name under people:
	Key    string // an OpenSSH public key: algorithm and base64, no comment
}

// ApproverKey is a key with which a person signs approvals.
type ApproverKey struct {
	Sort string // ssh or passkey
	Text string // an OpenSSH public key without comment, or a credential's id and key
}

// Digest returns the hex SHA-256 that names the files (contracts §6).
func (s *Set) Digest() string { return s.digest }

// Commit returns the commit that the files are from, "" if nobody said.
func (s *Set) Commit() string { return s.commit }

// Files returns the files that the set was loaded from.
func (s *Set) Files() map[string][]byte { return s.files }

// Organisation returns the name under organisation:.
func (s *Set) Organisation() string { return s.organisation }

// Caps returns the caps that bound everything.
func (s *Set) Caps() Caps { return s.caps }

// Environments returns the declared environments, in the file's order.
func (s *Set) Environments() []string { return s.environments }

// Security returns the group whose members may end anybody's access.
func (s *Set) Security() identity.Group { return s.security }

// Signers returns who may sign the next commit.
func (s *Set) Signers() []Signer { return s.signers }

// Signatures returns how many different persons of Signers must have signed the next
// commit; at least 1.
func (s *Set) Signatures() int { return max(s.signatures, 1) }

// Settle returns how long the next commit waits before it enters into force, if
// anybody gains by it.
func (s *Set) Settle() time.Duration { return s.settle }

// Apps returns all apps that have a file, sorted by name: those that gateways front.
func (s *Set) Apps() []App {
	out := make([]App, 0, len(s.apps))
	for _, name := range slices.Sorted(maps.Keys(s.apps)) {
		if name != OwnApp {
			out = append(out, s.apps[name])
		}
	}
	return out
}

// App returns the app of that name; OwnApp is one.
func (s *Set) App(name string) (App, bool) {
	a, ok := s.apps[name]
	return a, ok
}

// AppByHost returns the app that owns an exact, lower-case host name.
func (s *Set) AppByHost(host string) (App, bool) {
	name, ok := s.hosts[host]
	if !ok {
		return App{}, false
	}
	return s.App(name)
}

// Catalogue returns the catalogue that an app was checked against, nil if there
// is no such app.
func (s *Set) Catalogue(app string) *scope.Catalogue { return s.catalogues[app] }

// Entitlements returns all entitlements, sorted by name.
func (s *Set) Entitlements() []*Entitlement {
	out := make([]*Entitlement, 0, len(s.entitlements))
	for _, name := range slices.Sorted(maps.Keys(s.entitlements)) {
		out = append(out, s.entitlements[name])
	}
	return out
}

// Entitlement returns the entitlement of that name.
func (s *Set) Entitlement(name string) (*Entitlement, bool) {
	e, ok := s.entitlements[name]
	return e, ok
}

// Nodes returns all registered nodes, in the file's order.
func (s *Set) Nodes() []Node { return s.nodes }

// NodeOf returns the node whose sidecar has that SPIFFE ID.
func (s *Set) NodeOf(sidecar identity.Principal) (Node, bool) {
	return s.node(func(n Node) bool { return n.Sidecar == sidecar })
}

// NodeByListener returns the node whose Envoy has that SPIFFE ID.
func (s *Set) NodeByListener(listener identity.Principal) (Node, bool) {
	return s.node(func(n Node) bool { return n.Listener == listener })
}

func (s *Set) node(is func(Node) bool) (Node, bool) {
	i := slices.IndexFunc(s.nodes, is)
	if i < 0 {
		return Node{}, false
	}
	return s.nodes[i], true
}

// PersonOf returns the person behind an account: the one that lists it, else
// the account as its own person. Nobody has no person.
func (s *Set) PersonOf(p identity.Principal) identity.Person {
	if p.IsZero() {
		return identity.Person{}
	}
	if person, ok := s.people[p]; ok {
		return person
	}
	return identity.PersonOf(p)
}

// AccountsOf returns the accounts of a listed person, in the file's order.
func (s *Set) AccountsOf(person identity.Person) []identity.Principal {
	return s.accounts[person.String()]
}

// ApproverKeys returns the keys with which a listed person signs approvals, in the
// file's order.
func (s *Set) ApproverKeys(person identity.Person) []ApproverKey { return s.keys[person.String()] }
