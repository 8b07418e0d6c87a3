package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/tokens"
)

// secret is a session's. It prints and logs as "redacted"; it marshals only as
// part of a stored session.
type secret struct{ text string }

func (s secret) String() string       { return "redacted" }
func (s secret) GoString() string     { return "redacted" }
func (s secret) LogValue() slog.Value { return slog.StringValue("redacted") }

// session is a login to one server, kept in a 0600 file.
type session struct {
	Server    string
	Secret    secret
	Ends      string
	Principal string
	RecordKey string // verifies the record's checkpoints
	// Key is what the session is bound to: without it the secret is worth nothing.
	Key tokens.Prover
}

// storedSession is its file.
type storedSession struct {
	Server    string `json:"server"`
	Secret    string `json:"secret"`
	Ends      string `json:"ends"`
	Principal string `json:"principal"`
	RecordKey string `json:"record_key"`
	Key       []byte `json:"key"` // PKCS #8
}

var errNoSession = errors.New("you are not logged in")

// sessionFile returns where the session of a server is kept.
func (a *app) sessionFile(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	dir, err := a.dir("sessions")
	return filepath.Join(dir, url.PathEscape(u.Host)+".json"), err
}

func (a *app) loadSession(server string) (session, error) {
	path, err := a.sessionFile(server)
	if err != nil {
		return session{}, err
	}
	b, err := readPrivate(path)
	if absent(err) {
		return session{}, hinted{fmt.Errorf("%w at %s", errNoSession, server), "mayfly login"}
	}
	if err != nil {
		return session{}, err
	}
	var s storedSession
	if err := json.Unmarshal(b, &s); err != nil || s.Server != server || s.Secret == "" {
		return session{}, hinted{fmt.Errorf("%s does not hold a session of %s", path, server), "mayfly login"}
	}
	key, err := tokens.ParseProver(s.Key)
	if err != nil { // also of a version that bound sessions to nothing
		return session{}, hinted{fmt.Errorf("%s holds a session without its key", path), "mayfly login"}
	}
	return session{Server: s.Server, Secret: secret{s.Secret}, Ends: s.Ends, Principal: s.Principal, RecordKey: s.RecordKey, Key: key}, nil
}

func (a *app) saveSession(s session) error {
	path, err := a.sessionFile(s.Server)
	if err != nil {
		return err
	}
	key, err := s.Key.Marshal()
	if err != nil {
		return err
	}
	b, err := json.Marshal(storedSession{Server: s.Server, Secret: s.Secret.text, Ends: s.Ends, Principal: s.Principal, RecordKey: s.RecordKey, Key: key})
	if err != nil {
		return err
	}
	return writePrivate(path, b)
}

func (a *app) dropSession(server string) error {
	path, err := a.sessionFile(server)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !absent(err) {
		return err
	}
	return nil
}
