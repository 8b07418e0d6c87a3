package provider

import (
	"testing"

	"github.com/mayflyproxy/mayfly/test/browser"
)

// Login answers the provider's pages for the person named account, who is sent to
// them when the tab is, or comes, at the provider: it types the name and any
// password and agrees to what the client asks for. It returns when the tab has left
// for the client, loaded or not.
func (p *Provider) Login(t testing.TB, tab *browser.Tab, account string) {
	t.Helper()
	tab.WaitURL(p.issuer + "/interaction/")
	tab.Fill("login", account)
	tab.Fill("password", "any")
	tab.Follow("Sign-in")
	p.agree(t, tab)
}

// Agree answers only the page that asks for the person's consent: who is logged in
// at the provider is asked nothing else.
func (p *Provider) Agree(t testing.TB, tab *browser.Tab) {
	t.Helper()
	tab.WaitURL(p.issuer + "/interaction/")
	p.agree(t, tab)
}

func (p *Provider) agree(t testing.TB, tab *browser.Tab) {
	t.Helper()
	tab.Click("Continue")
	tab.Wait("the client", `!document.location.href.startsWith(`+"`"+p.issuer+"`"+`)`)
}
