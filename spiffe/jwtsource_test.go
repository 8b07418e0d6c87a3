package spiffe_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const jwtAudience = "https://mayfly.acme.example"

// jwtSVID signs a JWT-SVID with the key of by.
func jwtSVID(t *testing.T, by *dev.CA, id spiffeid.ID) string {
	t.Helper()
	text, err := by.JWTSVID(id, []string{jwtAudience})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// proves reports whether a JWT-SVID counts under the bundles of now.
func proves(s *spiffe.Source, token string, domains ...spiffeid.TrustDomain) bool {
	_, err := spiffe.VerifyJWT(token, s.Bundles(), jwtAudience, time.Now(), domains...)
	return err == nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeysOfJWTSVIDsComeAndGo: by the Workload API a new key counts as soon as it is told,
// and an old one, or all of them, no more as soon as it is not.
func TestKeysOfJWTSVIDsComeAndGo(t *testing.T) {
	ca := devtest.CA(t)
	_, at := devtest.WorkloadAPI(t, ca, dev.Entry{ID: devtest.ID(t, "/a")})
	source := devtest.Run(t, workloadSource(t, spiffe.WorkloadConfig{Address: at[0], JWT: true}))
	changed, stop := source.Watch()
	defer stop()
	old := jwtSVID(t, ca, devtest.ID(t, "/a"))
	counts := func(token string) func() bool { return func() bool { return proves(source, token, ca.TrustDomain()) } }
	await(t, changed, "the first key", counts(old))

	must(t, ca.RotateJWTKey())
	young := jwtSVID(t, ca, devtest.ID(t, "/a"))
	await(t, changed, "the second key", counts(young))
	if !counts(old)() {
		t.Error("the first key does not count beside the second")
	}
	must(t, ca.DropOldJWTKeys())
	await(t, changed, "the first key to go", func() bool { return !counts(old)() })
	if !counts(young)() {
		t.Error("the second key went with the first")
	}
	must(t, ca.RedactJWT())
	await(t, changed, "all keys to go", func() bool { return !counts(young)() })
	if len(source.Bundles().Authorities(ca.TrustDomain())) == 0 {
		t.Error("the certificates went with the keys")
	}
}

func TestWhoeverIsNobodyTakesNoJWTSVID(t *testing.T) {
	ca := devtest.CA(t)
	mine := dev.Entry{Socket: devtest.Socket(t, "w.sock"), ID: devtest.ID(t, "/a")}
	api, at := devtest.WorkloadAPI(t, ca, mine)
	source := devtest.Run(t, workloadSource(t, spiffe.WorkloadConfig{Address: at[0], JWT: true}))
	changed, stop := source.Watch()
	defer stop()
	token := jwtSVID(t, ca, devtest.ID(t, "/a"))
	await(t, changed, "the key", func() bool { return proves(source, token, ca.TrustDomain()) })
	must(t, api.SetEntries())
	await(t, changed, "the keys to go", func() bool { return !proves(source, token, ca.TrustDomain()) })
	must(t, api.SetEntries(mine))
	await(t, changed, "the key again", func() bool { return proves(source, token, ca.TrustDomain()) })
}

// TestAKeyProvesItsOwnTrustDomainOnly: bundles are never pooled.
func TestAKeyProvesItsOwnTrustDomainOnly(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	o := p.must(p.web(), ca)
	if problem := o.problem(); problem != "" {
		t.Fatal(problem)
	}
	theirs, err := p.ID("/a")
	must(t, err)
	both := []spiffeid.TrustDomain{ca.TrustDomain(), p.TrustDomain()}
	for name, c := range map[string]struct {
		by   *dev.CA
		id   spiffeid.ID
		want bool
	}{
		"ours":                   {ca, devtest.ID(t, "/a"), true},
		"theirs":                 {p.CA, theirs, true},
		"ours, by their key":     {p.CA, devtest.ID(t, "/a"), false},
		"theirs, by a key of us": {ca, theirs, false},
	} {
		if got := proves(o.source, jwtSVID(t, c.by, c.id), both...); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
	if proves(o.source, jwtSVID(t, p.CA, theirs), ca.TrustDomain()) {
		t.Error("a bundle is enough, without being listed")
	}
	token := jwtSVID(t, p.CA, theirs)
	must(t, p.RedactJWT())
	p.publish(2)
	if problem := o.problem(); problem != "" || proves(o.source, token, both...) {
		t.Errorf("after the keys were taken out: %q", problem)
	}
	p.publish(1) // an older bundle brings nothing back
	if problem := o.problem(); !strings.Contains(problem, "spiffe_sequence") {
		t.Errorf("an older bundle: %q", problem)
	}
}

// bend changes the keys of a SPIFFE bundle.
func bend(t *testing.T, raw []byte, f func(keys []map[string]any) []map[string]any) []byte {
	t.Helper()
	var doc map[string]any
	must(t, json.Unmarshal(raw, &doc))
	var keys []map[string]any
	for _, k := range doc["keys"].([]any) {
		keys = append(keys, k.(map[string]any))
	}
	doc["keys"] = f(keys)
	out, err := json.Marshal(doc)
	must(t, err)
	return out
}

// twice gives another key the kid of the first.
func twice(t *testing.T, other *dev.CA) func(keys []map[string]any) []map[string]any {
	t.Helper()
	raw, err := other.BundleDocument(0, 0)
	must(t, err)
	return func(keys []map[string]any) []map[string]any {
		bend(t, raw, func(others []map[string]any) []map[string]any {
			i := slices.IndexFunc(others, isJWT)
			k := maps.Clone(others[i])
			k["kid"] = keys[slices.IndexFunc(keys, isJWT)]["kid"]
			keys = append(keys, k)
			return others
		})
		return keys
	}
}

func isJWT(k map[string]any) bool { return k["use"] == "jwt-svid" }

func TestABundleWithAKidTwiceIsNotTaken(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	thief, err := dev.NewCA(dev.CAConfig{TrustDomain: p.TrustDomain()})
	must(t, err)
	o := p.must(p.web(), ca)
	if problem := o.problem(); problem != "" {
		t.Fatal(problem)
	}
	theirs, err := p.ID("/a")
	must(t, err)
	token := jwtSVID(t, p.CA, theirs)
	p.Tell(200, bend(t, p.document(2), twice(t, thief)))
	if problem := o.problem(); !strings.Contains(problem, "twice") {
		t.Errorf("problem %q", problem)
	}
	if !proves(o.source, token, p.TrustDomain()) {
		t.Error("the last good bundle does not count")
	}

	// By the Workload API the message has replaced the one before: the domain has none.
	doc := bend(t, bend(t, p.document(1), twice(t, thief)), func(keys []map[string]any) []map[string]any {
		return slices.DeleteFunc(keys, func(k map[string]any) bool { return !isJWT(k) })
	})
	ours, err := ca.BundleDocument(0, 0)
	must(t, err)
	got, err := spiffe.ReadJWTBundles(map[string][]byte{"spiffe://" + partnerDomain: doc, "spiffe://" + devtest.Domain: ours})
	if err == nil || len(got[p.TrustDomain()]) != 0 || len(got[ca.TrustDomain()]) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	got, err = spiffe.ReadJWTBundles(map[string][]byte{"spiffe://" + devtest.Domain: ours, devtest.Domain: ours})
	if err == nil || len(got[ca.TrustDomain()]) != 0 {
		t.Errorf("a trust domain with two bundles: %v, %v", got, err)
	}
}

// TestKeysThatAreNone: of a bundle only public keys for JWT-SVIDs, of fit strength, count.
func TestKeysThatAreNone(t *testing.T) {
	ca := devtest.CA(t)
	raw, err := ca.BundleDocument(0, 0)
	must(t, err)
	for name, change := range map[string]func(k map[string]any){
		"another use": func(k map[string]any) { k["use"] = "wit-svid" },
		"symmetric": func(k map[string]any) {
			clear(k)
			k["kty"], k["kid"], k["k"], k["use"] = "oct", "k", "c2VjcmV0", "jwt-svid"
		},
		"no kid": func(k map[string]any) { delete(k, "kid") },
	} {
		doc := bend(t, raw, func(keys []map[string]any) []map[string]any {
			change(keys[slices.IndexFunc(keys, isJWT)])
			return keys
		})
		if got, _ := spiffe.ReadJWTBundles(map[string][]byte{devtest.Domain: doc}); len(got[ca.TrustDomain()]) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestADevelopmentKeyIsForDevelopment(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	only := bend(t, p.document(1), func(keys []map[string]any) []map[string]any {
		return slices.DeleteFunc(keys, func(k map[string]any) bool { return !isJWT(k) })
	})
	p.Tell(200, only)
	o := p.must(p.web(), ca, func(c *spiffe.FederationConfig) {
		c.Dev = false
		c.Relations[0].AllowAddresses = []string{"127.0.0.0/8"}
	})
	if problem := o.problem(); !strings.Contains(problem, "development") {
		t.Errorf("problem %q", problem)
	}
	bundles := (*spiffe.Bundles)(nil).WithJWT(map[spiffeid.TrustDomain]spiffe.JWTKeys{p.TrustDomain(): p.JWTKeys()})
	if !bundles.Development(p.TrustDomain()) || bundles.Development(ca.TrustDomain()) {
		t.Error("a development CA's keys are not told from others")
	}
}

// TestABundleFileMayHoldBoth: SPIFFE's JSON holds the keys of JWT-SVIDs beside the
// certificates; PEM holds none.
func TestABundleFileMayHoldBoth(t *testing.T) {
	ca := devtest.CA(t)
	dir := t.TempDir()
	svid, err := ca.Mint(dev.Template{ID: devtest.ID(t, "/a")})
	must(t, err)
	chain, key, err := dev.PEM(svid)
	must(t, err)
	doc, err := ca.BundleDocument(1, 0)
	must(t, err)
	path := func(name string, content []byte) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, content, 0o600))
		return p
	}
	bundle := path("bundle", doc)
	source, err := spiffe.NewFileSource(spiffe.FileConfig{
		Cert: path("cert.pem", chain), Key: path("key.pem", key), Bundles: map[spiffeid.TrustDomain]string{ca.TrustDomain(): bundle}, Every: time.Millisecond,
	})
	must(t, err)
	devtest.Run(t, source)
	changed, stop := source.Watch()
	defer stop()
	token := jwtSVID(t, ca, devtest.ID(t, "/a"))
	if !proves(source, token, ca.TrustDomain()) || len(source.Bundles().Authorities(ca.TrustDomain())) != 1 {
		t.Fatal("the bundle does not hold both")
	}
	must(t, os.Rename(path("next", ca.Bundles().PEM(ca.TrustDomain())), bundle))
	await(t, changed, "the keys to go", func() bool { return !proves(source, token, ca.TrustDomain()) })
	if len(source.Bundles().Authorities(ca.TrustDomain())) != 1 {
		t.Error("the certificates went with the keys")
	}
}
