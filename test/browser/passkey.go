package browser

import (
	"context"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// Authenticator plugs an authenticator into the tab, empty. It makes and uses
// passkeys without asking: its user is always present, and verified if so said.
// Browsers take one only on localhost or a real host over TLS.
func (b *Tab) Authenticator(verified bool) {
	b.t.Helper()
	b.do("plug in an authenticator", func(ctx context.Context) error {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol: "ctap2", Transport: "internal", HasUserVerification: true, IsUserVerified: verified, AutomaticPresenceSimulation: true,
			},
		})
		return err
	})
}
