package provider

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// patience is how long the provider has for one thing.
const patience = 30 * time.Second

// Client is a public client with PKCE.
type Client struct {
	ID          string   `json:"id"`
	Redirects   []string `json:"redirects"`
	PostLogout  []string `json:"postLogout,omitempty"`
	BackChannel string   `json:"backChannel,omitempty"` // is told of ended sessions
	Alg         string   `json:"alg,omitempty"`         // of ID and logout tokens: RS256 (the default) or ES256
}

// Config says who may log in where.
type Config struct {
	Clients []Client
	// Accounts are the claims of each person, by the name that is typed at login,
	// which is also the subject. A name that is not here may log in, without claims.
	Accounts map[string]map[string]any
	// UserInfoOnly keeps all claims but sub out of ID tokens.
	UserInfoOnly bool
	// OfflineOnly gives refresh tokens only for the scope offline_access, after the
	// person agreed to it. Else each login gives one.
	OfflineOnly bool
	// Roots is a PEM file of authorities that the provider trusts when it calls a
	// client's BackChannel, beside those of Node.
	Roots string
}

// Provider is a running provider.
type Provider struct {
	issuer string
	cmd    *exec.Cmd
	log    *lockedBuffer

	mu      sync.Mutex
	in      io.WriteCloser
	answers *bufio.Scanner
}

// Start starts a provider that ends with the test, or ends the test: it is skipped
// where there is no Node or no oidc-provider.
func Start(t testing.TB, c Config) *Provider {
	t.Helper()
	need.Node(t)
	need.NPM(t, "oidc-provider")
	p, err := Launch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the provider wrote:\n%s", p.log.text())
		}
	})
	return p
}

// Launch starts a provider and waits until it answers. Close ends it.
func Launch(ctx context.Context, c Config) (*Provider, error) {
	cmd, err := command(c)
	if err != nil {
		return nil, err
	}
	p := &Provider{cmd: cmd, log: &lockedBuffer{}}
	cmd.Stderr = p.log
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the provider: %w", err)
	}
	p.answers = bufio.NewScanner(out)
	var first struct {
		Issuer string `json:"issuer"`
	}
	if err := p.read(ctx, &first); err != nil {
		return nil, errors.Join(fmt.Errorf("start the provider: %w", err), p.Close())
	}
	p.issuer = first.Issuer
	return p, nil
}

func command(c Config) (*exec.Cmd, error) {
	node, err := need.FindNode()
	if err != nil {
		return nil, err
	}
	module, err := need.FindNPM("oidc-provider")
	if err != nil {
		return nil, err
	}
	root, err := env.Root()
	if err != nil {
		return nil, err
	}
	var claims []string // those that the provider must know of, beside its own
	for _, account := range c.Accounts {
		claims = slices.AppendSeq(claims, maps.Keys(account))
	}
	slices.Sort(claims)
	standard := []string{"sub", "name", "preferred_username", "email", "email_verified", "groups"}
	claims = slices.DeleteFunc(slices.Compact(claims), func(name string) bool { return slices.Contains(standard, name) })
	config, err := json.Marshal(map[string]any{
		"module": module, "clients": c.Clients, "accounts": c.Accounts, "claims": claims,
		"userInfoOnly": c.UserInfoOnly, "offlineOnly": c.OfflineOnly,
	})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(node, filepath.Join(root, "test", "npm", "provider.js"), string(config))
	cmd.Env = append(os.Environ(), "NODE_ENV=test", "NODE_EXTRA_CA_CERTS="+c.Roots)
	// It ends with its standard input, so it does not outlive us. Pdeathsig would end
	// it with the thread that started it.
	return cmd, nil
}

// Issuer is the provider as it writes itself: http on a loopback address.
func (p *Provider) Issuer() string { return p.issuer }

// PID is its process, for those who freeze it.
func (p *Provider) PID() int { return p.cmd.Process.Pid }

// EndSessions ends every session of a person, as when they log out, and returns
// what each client with a BackChannel answered: "ok", or what was wrong.
func (p *Provider) EndSessions(ctx context.Context, account string) (told []string, err error) {
	var answer struct {
		Told []string `json:"told"`
	}
	err = p.tell(ctx, map[string]any{"do": "end", "account": account}, &answer)
	return answer.Told, err
}

// Disable makes a person unknown: refresh tokens are refused with invalid_grant,
// and nobody of that name logs in.
func (p *Provider) Disable(ctx context.Context, account string) error {
	return p.tell(ctx, map[string]any{"do": "disable", "account": account}, nil)
}

// Enable takes Disable back.
func (p *Provider) Enable(ctx context.Context, account string) error {
	return p.tell(ctx, map[string]any{"do": "enable", "account": account}, nil)
}

// SetClaims gives a person other claims from now on. A claim that nobody had at the
// start is not told, but groups and the standard ones are.
func (p *Provider) SetClaims(ctx context.Context, account string, claims map[string]any) error {
	return p.tell(ctx, map[string]any{"do": "set", "account": account, "claims": claims}, nil)
}

// tell has one thing done and reads its answer.
func (p *Provider) tell(ctx context.Context, ask map[string]any, answer any) error {
	line, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == nil {
		return errors.New("the provider has ended")
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	return p.read(ctx, answer)
}

// read reads one line. A provider that says nothing in time is ended: its answer
// would be taken for the next one's.
func (p *Provider) read(ctx context.Context, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if !p.answers.Scan() {
		return errors.Join(fmt.Errorf("the provider said nothing: %s", p.log.text()), ctx.Err(), p.answers.Err())
	}
	var said struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(p.answers.Bytes(), &said); err != nil {
		return fmt.Errorf("the provider said %q: %w", p.answers.Text(), err)
	}
	if said.Error != "" {
		return fmt.Errorf("provider: %s", said.Error)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(p.answers.Bytes(), answer)
}

// Close ends the provider: at its end of input, else by force.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == nil {
		return nil
	}
	_ = p.in.Close()
	p.in = nil
	force := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer force.Stop()
	_ = p.cmd.Wait() // also how it ended by force is well
	return nil
}

// lockedBuffer holds what the provider writes while others read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
