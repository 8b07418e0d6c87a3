package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/tokens"
)

// loginTime is how long login waits for the browser.
const loginTime = 5 * time.Minute

func (a *app) loginCommand() *cobra.Command {
	idp := ""
	c := &cobra.Command{
		Use: "login", Short: "Log in through the browser",
		Long: `Log in through the browser: prints a code and the address to open, and waits for
the browser to come back to a port on 127.0.0.1. Before it does, a page of the server
asks whether the command may act as you. Continue only if it shows the same code:
another one means that another program on your machine asks. The session is kept in a file that only you
can read, for at most eight hours. Logging in again also refreshes your groups.
Where there are several identity providers, the browser asks for one, or --idp
names it.`,
		Example: `  mayfly login
  mayfly login --idp partner
  mayfly login --server https://mayfly.acme.example:8443`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context(), idp) }),
	}
	c.Flags().StringVar(&idp, "idp", "", "name of the identity provider")
	return c
}

func (a *app) login(ctx context.Context, idp string) error {
	if a.asWorkload() {
		return usage{"a workload does not log in: it proves itself with each call", "mayfly whoami --svid"}
	}
	server, err := a.address()
	if err != nil {
		return err
	}
	key, err := tokens.NewProver()
	if err != nil {
		return err
	}
	client, err := a.person(server, secret{}, key)
	if err != nil {
		return err
	}
	if _, err := client.Checkpoint(ctx); err != nil { // anybody's: before a browser is opened in vain
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	w := newWait(listener, server)
	thumbprint, err := key.Thumbprint()
	if err != nil {
		return err
	}
	print := base64.RawURLEncoding.EncodeToString(thumbprint[:])
	address := w.address(idp, print)
	fmt.Fprintf(a.c.Stdout, "The page in your browser must show the code %s: press Continue there only then.\n", w.shown(print))
	fmt.Fprintf(a.c.Stdout, "Open this address in your browser:\n\n  %s\n\n", address)
	ctx, cancel := context.WithTimeoutCause(ctx, loginTime, fmt.Errorf("no browser came back within %s", loginTime))
	defer cancel()
	code, err := w.code(ctx)
	if err != nil {
		return err
	}
	made, err := client.Token(ctx, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {code}, "code_verifier": {w.verifier}, "redirect_uri": {w.redirect()},
	})
	if err != nil {
		return hinted{fmt.Errorf("the login was not taken: %w", err), "mayfly login"}
	}
	return a.enter(ctx, session{Server: server, Secret: secret{made.AccessToken}, Key: key})
}

// enter keeps a new session, and says whose it is.
func (a *app) enter(ctx context.Context, s session) error {
	client, err := a.person(s.Server, s.Secret, s.Key)
	if err != nil {
		return err
	}
	who, err := client.Whoami(ctx)
	if err != nil {
		return err
	}
	s.Ends, s.Principal, s.RecordKey = who.Ends, who.Principal, who.RecordKey
	if err := a.saveSession(s); err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	fmt.Fprintf(a.c.Stdout, "Logged in as %s until %s.\n", plain(nameOf(who)), clock(who.Ends))
	return a.see(ctx, client, who.RecordKey)
}

func nameOf(w api.Whoami) string {
	if w.Name == "" {
		return w.Principal
	}
	return w.Name + " (" + w.Principal + ")"
}

// wait is one login that waits for its browser (RFC 8252 §7.3, RFC 7636).
type wait struct {
	listener        net.Listener
	server          string // its address, which is the issuer (RFC 9207)
	state, verifier string
	answer          chan answer
}

type answer struct {
	code string
	err  error
}

func newWait(l net.Listener, server string) *wait {
	return &wait{listener: l, server: server, state: random(), verifier: random(), answer: make(chan answer, 1)}
}

// redirect is where the browser comes back to.
func (w *wait) redirect() string { return "http://" + w.listener.Addr().String() + "/callback" }

func (w *wait) challenge() string {
	sum := sha256.Sum256([]byte(w.verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// shown is the text that the server's page must show: a page about another program's
// login shows another one.
func (w *wait) shown(print string) string { return api.LoginCode(w.state, w.challenge(), print) }

// address is what the person opens. idp may be empty. The code is bound to the key
// with that thumbprint (RFC 9449 §10): whoever else catches it cannot redeem it.
func (w *wait) address(idp, print string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {w.redirect()}, "state": {w.state},
		"code_challenge": {w.challenge()}, "code_challenge_method": {"S256"}, "dpop_jkt": {print},
	}
	if idp != "" {
		q.Set("idp", idp)
	}
	return w.server + api.AuthorizePath + "?" + q.Encode()
}

// code serves the loopback port until the browser brought the code of this login.
func (w *wait) code(ctx context.Context) (string, error) {
	server := &http.Server{Handler: w, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- server.Serve(w.listener) }()
	var got answer
	select {
	case got = <-w.answer:
	case err := <-done:
		return "", fmt.Errorf("the loopback port: %w", err)
	case <-ctx.Done():
		got.err = context.Cause(ctx)
	}
	// The browser is to see its page; a connection that hangs does not matter.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close()
	}
	<-done
	return got.code, got.err
}

// ServeHTTP takes the browser's return. What does not carry our state is not
// ours, and changes nothing: whoever else is on this machine may call.
func (w *wait) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	h := out.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	ours := subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(w.state)) == 1
	if r.Method != http.MethodGet || r.URL.Path != "/callback" || r.Host != w.listener.Addr().String() || !ours {
		http.Error(out, "This is not the login that mayfly waits for.", http.StatusBadRequest)
		return
	}
	got := answer{code: q.Get("code")}
	switch iss := q.Get("iss"); {
	case iss != w.server: // RFC 9207 §2.4: another server answers in its place
		got.err = hinted{fmt.Errorf("%s answered instead of %s", orDash(iss), w.server), "mayfly login --server with the address of the server itself"}
	case q.Get("error") == "invalid_request": // what was typed, such as --idp
		got.err = usage{orDash(q.Get("error_description")), "mayfly login --help"}
	case q.Get("error") != "" || got.code == "":
		got.err = hinted{fmt.Errorf("%s (%s)", orDash(q.Get("error_description")), orDash(q.Get("error"))), "mayfly login"}
	}
	select {
	case w.answer <- got:
	default: // a second return of the same browser
	}
	if got.err != nil {
		fmt.Fprintln(out, "The login failed. The terminal says why. You can close this window.")
		return
	}
	fmt.Fprintln(out, "You are logged in. You can close this window and go back to the terminal.")
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the session and forget it",
		Example: "  mayfly logout", Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			server, err := a.address()
			if err != nil {
				return err
			}
			s, err := a.loadSession(server)
			if err != nil {
				return err
			}
			client, err := a.person(server, s.Secret, s.Key)
			if err != nil {
				return err
			}
			if err := client.Logout(cmd.Context()); err != nil && !isCode(err, "no_session") {
				return err
			}
			if err := a.dropSession(server); err != nil {
				return err
			}
			fmt.Fprintln(a.c.Stdout, "Logged out of", hostOf(server)+".")
			return nil
		}),
	}
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are to the server",
		Example: `  mayfly whoami
  mayfly whoami --svid --server-id spiffe://acme.example/mayflyd`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			who, err := client.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			if a.isJSON() {
				return a.json(who)
			}
			dev := ""
			if who.Dev {
				dev = "unsigned policy is accepted here: a development server"
			}
			ends := ""
			if who.Ends != "" {
				ends = clock(who.Ends) + " (" + a.left(who.Ends) + " left)"
			}
			a.pairs([2]string{"principal", who.Principal}, [2]string{"person", who.Person}, [2]string{"name", who.Name},
				[2]string{"identity provider", who.IDP}, [2]string{"groups", strings.Join(who.Groups, " ")}, [2]string{"session ends", ends},
				[2]string{"policy", strings.TrimSpace(who.Policy.Commit + " " + who.Policy.Digest)}, [2]string{"development", dev})
			a.showObserved(who.Observed)
			return nil
		}),
	}
}
