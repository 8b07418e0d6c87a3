package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/tokens"
)

// oauthConfig is the authorization server's part of the file.
type oauthConfig struct {
	WorkloadsURL string                     `yaml:"workloads_url"` // of the workloads door, as workloads reach it
	JWTBundles   map[string]jwtBundleConfig `yaml:"jwt_bundles"`   // by trust domain
}

// jwtBundleConfig says where the keys of a trust domain's JWT-SVIDs are.
type jwtBundleConfig struct {
	File string `yaml:"file"`
}

// workloadsURL is the address of the workloads door: as the file says, else the host
// of the public one with the door's port.
func (c *config) workloadsURL() string {
	if c.OAuth.WorkloadsURL != "" {
		return c.OAuth.WorkloadsURL
	}
	u, err := url.Parse(c.url())
	if err != nil {
		return ""
	}
	return "https://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(int(c.Workloads.Port())))
}

// buildOAuth makes the authorization server. It logs people in by the server, which
// is made after it.
func (d *daemon) buildOAuth() (err error) {
	if d.nonces, err = tokens.NewNonces(); err != nil {
		return err
	}
	// Two memories of proofs: whoever asks for tokens may be anybody, and what they fill
	// is not to stand in the way of people with a session.
	if d.proofs, err = tokens.NewProofs(tokens.ProofConfig{Nonces: d.nonces}); err != nil {
		return err
	}
	anybody, err := tokens.NewProofs(tokens.ProofConfig{Nonces: d.nonces})
	if err != nil {
		return err
	}
	d.oauth, err = oauth.New(oauth.Config{
		Service: d.service, Issuer: d.c.url(), MTLS: d.c.workloadsURL(), Kinds: d.kinds.catalogues(), Peers: d.verifier,
		JWTSVID: d.jwtSVID, IDToken: d.providers.idToken, Proofs: anybody, Nonce: d.nonce, Log: d.log,
		Login: func(w http.ResponseWriter, r *http.Request, idp string, kept []byte) { d.server.Login(w, r, idp, kept) },
		Show: func(w http.ResponseWriter, r *http.Request, e *oauth.Error) {
			d.console.Problem(w, r, &api.Problem{
				Title: "Not a login of the mayfly command", Status: max(e.Status, http.StatusBadRequest), Code: string(e.Code), Detail: e.Description, Next: "mayfly login",
			})
		},
	})
	return err
}

func (d *daemon) nonce(now time.Time) string { return d.nonces.Current(now) }

// idToken says whom an ID token of one of the providers proves.
func (p providers) idToken(ctx context.Context, raw string) (oauth.IDToken, error) {
	for _, rp := range p {
		if !rp.Issues(raw) {
			continue
		}
		f, err := rp.IDToken(ctx, raw)
		if err != nil {
			return oauth.IDToken{}, err
		}
		return oauth.IDToken{Digest: f.Digest, Principal: f.Principal, AuthTime: f.AuthTime, ACR: f.ACR, Ends: f.Ends}, nil
	}
	return oauth.IDToken{}, fmt.Errorf("%w: it is of no configured provider", oidc.ErrProof)
}
