package proxy

import (
	"crypto/x509"
	"testing"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/tokens"
)

const issuer = "https://mayfly.acme.example"

func keyOf(t *testing.T) *feed.Resource {
	t.Helper()
	key, err := tokens.GenerateKey(tokens.ES256)
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public()
	der, err := x509.MarshalPKIXPublicKey(public.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &feed.Resource{Id: public.ID, MinReader: 3, Resource: &feed.Resource_Key{Key: &feed.Key{
		PublicKey: der, Alg: string(public.Alg), State: "active", Issuer: issuer,
	}}}
}

func (m *memory) knows(kid string) bool {
	set, _ := m.Keys()
	_, ok := set.Lookup(kid)
	return ok
}

// TestP2_NoKeyThatIsNotUnderstoodIsHeld changes one thing of a good key.
func TestP2_NoKeyThatIsNotUnderstoodIsHeld(t *testing.T) {
	other := keyOf(t)
	for name, change := range map[string]func(*feed.Resource, *feed.Key){
		"newer reader":          func(r *feed.Resource, _ *feed.Key) { r.MinReader = Reader + 1 },
		"no id":                 func(r *feed.Resource, _ *feed.Key) { r.Id = "" },
		"another key's id":      func(r *feed.Resource, _ *feed.Key) { r.Id = other.Id },
		"no key":                func(_ *feed.Resource, k *feed.Key) { k.PublicKey = nil },
		"another algorithm":     func(_ *feed.Resource, k *feed.Key) { k.Alg = "RS256" },
		"an unknown algorithm":  func(_ *feed.Resource, k *feed.Key) { k.Alg = "none" },
		"no issuer":             func(_ *feed.Resource, k *feed.Key) { k.Issuer = "" },
		"an issuer by http":     func(_ *feed.Resource, k *feed.Key) { k.Issuer = "http://mayfly.acme.example" },
		"an issuer with a path": func(_ *feed.Resource, k *feed.Key) { k.Issuer += "/x" },
		"another issuer":        func(_ *feed.Resource, k *feed.Key) { k.Issuer = "https://other.example" },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			good, bad := keyOf(t), keyOf(t)
			id := bad.Id
			change(bad, bad.GetKey())
			_, nacks := m.swap(good)
			if len(nacks) != 0 {
				t.Fatalf("a good key is refused: %v", nacks)
			}
			if nacks := m.add(bad); len(nacks) != 1 || nacks[0].GetKind() != feed.KindKey {
				t.Fatalf("nacks %v, want one of a key", nacks)
			}
			if m.knows(id) || !m.knows(good.Id) {
				t.Error("the bad key is held, or the good one is not")
			}
		})
	}
}

func TestARemovedKeyIsHeldNoMore(t *testing.T) {
	m := newMemory(t)
	a, b := keyOf(t), keyOf(t)
	m.swap(a)
	if set, who := m.Keys(); who != issuer || len(set.Keys()) != 1 {
		t.Fatalf("issuer %q with %d keys", who, len(set.Keys()))
	}
	m.delta(&feed.Delta{Resources: []*feed.Resource{b}, Removals: []*feed.Removal{{Kind: feed.KindKey, Id: a.Id, Reason: "revoked"}}})
	if m.knows(a.Id) || !m.knows(b.Id) {
		t.Error("after a removal the removed key is held, or the new one is not")
	}
	m.swap(a)
	if !m.knows(a.Id) || m.knows(b.Id) {
		t.Error("after a snapshot other keys are held than its own")
	}
}
