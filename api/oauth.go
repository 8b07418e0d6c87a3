package api

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The paths of the authorization server that the command uses, and its client_id.
const (
	AuthorizePath = "/oauth/authorize"
	TokenPath     = "/oauth/token"
	ClientID      = "mayfly-cli"
)

// CommandLogin is what a person is asked before the command gets a code for their login.
type CommandLogin struct {
	Name      string `json:"name"` // of the person
	Principal string `json:"principal"`
	Address   string `json:"address"` // host:port on the person's machine where the code would go
	Code      string `json:"code"`    // LoginCode of the request
	Token     string `json:"token"`   // secret: goes back with the person's answer, which counts once
}

// LoginCode is the short text by which people see that the page in their browser is
// about the command in their terminal. It is made of the request's state,
// code_challenge and dpop_jkt: the request of any other program shows another one.
func LoginCode(state, challenge, key string) string {
	sum := sha256.Sum256([]byte(challenge + "." + key + "." + state)) // neither of the first two has a dot
	text := base32.StdEncoding.EncodeToString(sum[:])
	return text[:5] + "-" + text[5:10]
}

// Prover proves possession of a key (RFC 9449); tokens.Prover is one.
type Prover interface {
	// Prove returns a proof for one request. url has neither query nor fragment; token
	// is the access token that goes with it, "" for none; so is nonce.
	Prove(method, url, token, nonce string, now time.Time) (string, error)
}

// Token is the answer of the token endpoint (RFC 6749 §5.1). AccessToken is secret.
type Token struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   int64           `json:"expires_in"` // seconds
	Details     json.RawMessage `json:"authorization_details,omitempty"`
}

// String hides the token.
func (t Token) String() string { return "redacted" }

// GoString hides the token.
func (t Token) GoString() string { return "redacted" }

// OAuthError is a refusal of the token endpoint (RFC 6749 §5.2).
type OAuthError struct {
	Status      int    `json:"-"`
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// Error returns the description and the code.
func (e *OAuthError) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Description + " (" + e.Code + ")"
}

// Token asks the token endpoint. Its errors are *OAuthError where the server gave one.
func (c *Client) Token(ctx context.Context, form url.Values) (Token, error) {
	var out Token
	res, err := c.prove(ctx, func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+TokenPath, strings.NewReader(form.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	}, "")
	if err != nil {
		return Token{}, fmt.Errorf("POST %s: %w", TokenPath, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBody))
	if err != nil {
		return Token{}, fmt.Errorf("POST %s: %w", TokenPath, err)
	}
	if res.StatusCode != http.StatusOK {
		refusal := &OAuthError{Status: res.StatusCode}
		if json.Unmarshal(body, refusal) != nil || refusal.Code == "" {
			return Token{}, fmt.Errorf("POST %s: %s, which is no answer of an authorization server", TokenPath, res.Status)
		}
		return Token{}, refusal
	}
	if err := json.Unmarshal(body, &out); err != nil || out.AccessToken == "" {
		return Token{}, errors.New("the token endpoint answered without a token")
	}
	return out, nil
}

// nonces keeps the newest nonce that a server gave.
type nonces struct {
	mu    sync.Mutex
	value string
}

func (n *nonces) get() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.value
}

func (n *nonces) set(value string) {
	if value == "" || len(value) > 512 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.value = value
}

// prove sends what make makes, with a proof where there is a key; once more if the
// server wants a nonce that it gave only with its answer (RFC 9449 §8, §9).
func (c *Client) prove(ctx context.Context, make func(context.Context) (*http.Request, error), token string) (*http.Response, error) {
	for again := false; ; again = true {
		r, err := make(ctx)
		if err != nil {
			return nil, err
		}
		nonce := c.nonces.get()
		if c.prover != nil {
			at := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
			proof, err := c.prover.Prove(r.Method, at.String(), token, nonce, c.now())
			if err != nil {
				return nil, err
			}
			r.Header.Set("DPoP", proof)
		}
		res, err := c.http.Do(r)
		if err != nil {
			return nil, err
		}
		given := res.Header.Get("DPoP-Nonce")
		c.nonces.set(given)
		if again || c.prover == nil || given == "" || given == nonce || !wantsNonce(res) {
			return res, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, MaxBody)) // so that the connection is used again
		_ = res.Body.Close()
	}
}

// wantsNonce reports whether a refusal may be about the nonce alone. Sending again
// what was refused with these changes nothing twice.
func wantsNonce(res *http.Response) bool {
	return res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusBadRequest && strings.HasSuffix(res.Request.URL.Path, TokenPath)
}
