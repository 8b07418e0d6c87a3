package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/api"
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
}

// storedSession is its file.
type storedSession struct {
	Server    string `json:"server"`
	Secret    string `json:"secret"`
	Ends      string `json:"ends"`
	Principal string `json:"principal"`
	RecordKey string `json:"record_key"`
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
	return session{Server: s.Server, Secret: secret{s.Secret}, Ends: s.Ends, Principal: s.Principal, RecordKey: s.RecordKey}, nil
}

func (a *app) saveSession(server string, n api.NewSession) error {
	path, err := a.sessionFile(server)
	if err != nil {
		return err
	}
	b, err := json.Marshal(storedSession{
		Server: server, Secret: n.Secret, Ends: n.Ends, Principal: n.Whoami.Principal, RecordKey: n.Whoami.RecordKey,
	})
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
