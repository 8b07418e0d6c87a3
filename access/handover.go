package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

const (
	handOverLife   = 60 * time.Second // contracts §7
	handOverPrefix = "handover:"      // keeps codes apart from other logins under way
	callbackPath   = "/.mayfly/callback"
	httpsPort      = 443
)

// HandOver asks to carry a console login over to the host of an app.
type HandOver struct {
	App   string
	Host  string // of the app, lower case, without port
	State string // of the browser on that host: base64url of a SHA-256
}

// handOver is what is kept under a code until a gateway redeems it.
type handOver struct {
	App    string          `json:"app"`
	Host   string          `json:"host"`
	State  string          `json:"state"`
	Parent grant.SessionID `json:"parent"`
}

// HandOver makes the code that a gateway turns into a session on one host of an
// app (contracts §7): single use, 60 s, bound to app, host and state. It returns
// the address that the browser is sent to. c's console session is the parent of
// what the code is turned into.
func (s *Service) HandOver(ctx context.Context, c Caller, h HandOver) (callback string, err error) {
	if !c.isPerson() {
		return "", fault(CodeNotAPerson, "", "only a person logs in to an app")
	}
	if !isState(h.State) {
		return "", fault(CodeInvalid, "", "the state is not base64url of a SHA-256")
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	code := base64.RawURLEncoding.EncodeToString(raw[:])
	err = s.update(ctx, func(w *work) error {
		if err := w.mayHandOver(ctx, c, h); err != nil {
			return err
		}
		body, err := json.Marshal(handOver{App: h.App, Host: h.Host, State: h.State, Parent: c.Session})
		if err != nil {
			return err
		}
		return w.tx.Sessions().PutLogin(ctx, hashKey(handOverPrefix+code), body, w.now.Add(handOverLife))
	})
	if err != nil {
		return "", err
	}
	return s.callback(h, code), nil
}

// isState reports whether s is a SHA-256 in base64url, in its one spelling (the
// decoder alone passes over line feeds).
func isState(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == sha256.Size && base64.RawURLEncoding.EncodeToString(raw) == s
}

// mayHandOver refuses a host at which no app takes people, and a caller that does
// not speak with a live console session of its own.
func (w *work) mayHandOver(ctx context.Context, c Caller, h HandOver) error {
	parent, err := w.tx.Sessions().ByID(ctx, c.Session)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return fmt.Errorf("session: %w", err)
	case err != nil, parent.Kind != SessionConsole, parent.Principal != c.Principal, !parent.Live(w.now):
		return fault(CodeNoSession, "", "there is no session in the console, or it has ended")
	}
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return err
	}
	if a, ok := set.App(h.App); !ok || !a.TakesPeople() || !slices.Contains(a.Hosts, h.Host) {
		return fault(CodeNotFound, "", "no app %q takes people at %q", clip(h.App), clip(h.Host))
	}
	return nil
}

// callback returns the address on the app's host that redeems a code.
func (s *Service) callback(h HandOver, code string) string {
	host := h.Host
	if s.peoplePort != httpsPort {
		host = net.JoinHostPort(h.Host, strconv.Itoa(int(s.peoplePort)))
	}
	u := url.URL{Scheme: "https", Host: host, Path: callbackPath, RawQuery: url.Values{"code": {code}, "state": {h.State}}.Encode()}
	return u.String()
}
