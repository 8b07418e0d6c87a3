package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/test/browser"
)

// passkeyOwner logs somebody in at the console, in a browser with an authenticator
// in which they make a passkey. It returns the passkey as policy writes it.
func (m *provenWorld) passkeyOwner(t *testing.T, who string) (b *browser.Browser, key string) {
	t.Helper()
	b = browser.New(t, browser.Config{Roots: m.CA.Roots(), Resolve: map[string]string{"localhost": "127.0.0.1"}})
	b.Authenticator(true)
	b.Open(m.Public + "/login?idp=idp")
	b.WaitText("Development login")
	b.Follow(who)
	b.WaitURL(m.Public + "/")
	b.Follow("A passkey for approvals")
	looks(t, b.Tab, "passkey-make")
	b.Follow("Make a passkey")
	b.WaitText("Put this line into policy")
	looks(t, b.Tab, "passkey-line")
	line := browser.Eval[string](b.Tab, `document.getElementById('passkey-line').textContent`)
	key, found := strings.CutPrefix(line, "- ")
	if !found || !strings.HasPrefix(key, "passkey: ") {
		t.Fatalf("the page has the line %q", line)
	}
	return b, key
}

// looks checks what everybody must be able to read at the width of a telephone and
// of a desk. MAYFLY_PICTURES keeps pictures of it.
func looks(t *testing.T, b *browser.Tab, name string) {
	t.Helper()
	b.NoSidewaysScroll(390, 1280)
	b.NoAxeFindings()
	if dir := os.Getenv("MAYFLY_PICTURES"); dir != "" {
		for _, width := range []int{390, 1280} {
			browser.SaveScreenshot(t, filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, width)), b.Screenshot(width), 400<<10)
		}
	}
}

// touched is a form that the person's authenticator answered for a challenge, as
// whoever owns their browser could have it.
func touched(b *browser.Browser, key, digest string) string {
	id, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(key, "passkey: "), `"`), ".")
	return browser.Eval[string](b.Tab, fmt.Sprintf(`(async () => {
		const text = (x) => btoa(String.fromCharCode(...new Uint8Array(x))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
		const id = Uint8Array.from(atob(%q.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
		const challenge = Uint8Array.from(%q.match(/../g), (two) => parseInt(two, 16));
		const {rawId, response: r} = await navigator.credentials.get({publicKey: {challenge, allowCredentials: [{type: 'public-key', id}], userVerification: 'required'}});
		return new URLSearchParams({verdict: 'approve', passkey: text(rawId), authenticator_data: text(r.authenticatorData),
			client_data: text(r.clientDataJSON), signature: text(r.signature)}).toString();
	})()`, id, digest))
}

// TestPasskeyApproval: bob makes a passkey in his browser, policy lists it, and with
// it he approves what the page shows; every gateway that wants proofs counts the
// grant. Carol's passkey does not approve in his name, nor does his own answer for
// another offer.
func TestPasskeyApproval(t *testing.T) {
	m := startProven(t)
	ctx := t.Context()
	bob, bobs := m.passkeyOwner(t, "bob")
	carol, carols := m.passkeyOwner(t, "carol")
	main := m.Files()["mayfly.yaml"]
	for account, key := range map[string]string{`["user:idp:8b0e41d9"]`: bobs, `["user:idp:c2d9f6e3"]`: carols} {
		main = strings.Replace(main, account, account+", keys: [{"+key+"}]", 1)
	}
	m.signPolicyWith(t, main+fmt.Sprintf("signers:\n  - {person: carol, key: %q}\n", m.public(t, "carol")))

	first, err := m.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first.ID == other.ID || first.Offer.SHA256 == other.Offer.SHA256 {
		t.Fatal("both requests are one")
	}
	bob.Open(m.Public + "/requests/" + first.ID)
	send := func(to, digest, form string) int {
		return browser.Eval[int](bob.Tab, fmt.Sprintf(`fetch(%q, {method: 'POST', headers: {'Content-Type': 'application/x-www-form-urlencoded'}, body: %q}).then((r) => r.status)`,
			"/requests/"+to+"/decide", form+"&offer="+digest))
	}
	his := touched(bob, bobs, first.Offer.SHA256)
	for name, got := range map[string]int{
		"carol's passkey":             send(first.ID, first.Offer.SHA256, touched(carol, carols, first.Offer.SHA256)),
		"his passkey, another offer":  send(other.ID, other.Offer.SHA256, his),
		"his passkey, no such digest": send(other.ID, first.Offer.SHA256, his),
		"no passkey":                  send(first.ID, first.Offer.SHA256, "verdict=approve"),
	} {
		if got < 400 {
			t.Errorf("%s: approved (%d)", name, got)
		}
	}
	looks(t, bob.Tab, "request-passkey")
	bob.Follow(browser.Eval[string](bob.Tab, `document.querySelector('[data-passkey]').textContent`))
	bob.WaitText("approved")
	for _, g := range m.gateways {
		m.gets(t, "reporter", g, "")
	}
	if got := send(other.ID, other.Offer.SHA256, his); got < 400 {
		t.Errorf("the answer for one offer approved another (%d)", got)
	}

	// A browser without the passkey says so, and names the command.
	bare := browser.New(t, browser.Config{Roots: m.CA.Roots(), Resolve: map[string]string{"localhost": "127.0.0.1"}})
	bare.Authenticator(false)
	bare.Open(m.Public + "/login?idp=idp")
	bare.WaitText("Development login")
	bare.Follow("bob")
	bare.WaitURL(m.Public + "/")
	bare.Open(m.Public + "/requests/" + other.ID)
	bare.Click("[data-passkey]")
	bare.WaitText("The browser gave no passkey")
	bare.WaitText("You can sign with mayfly approve " + other.ID + " --sign-with KEY")
	looks(t, bare.Tab, "request-passkey-refused")
}
