package integration

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// TestAPersonCallsThroughTheDoorForClients has alice reach the wiki from her terminal:
// with mayfly call, mayfly proxy and mayfly exec, under a token bound to her login's key.
func TestAPersonCallsThroughTheDoorForClients(t *testing.T) {
	p := theProduct(t)
	text := strings.Replace(p.Files()["apps/wiki.yaml"], "callers: [people]", "callers: [people, clients]", 1)
	p.commit(t, "Open the wiki to clients", map[string]string{"apps/wiki.yaml": text})
	if _, err := p.Login(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) env.Ran {
		t.Helper()
		ran, err := p.CLI(t.Context(), "alice", append([]string{args[0], "--gateway", p.gw.Clients}, args[1:]...)...)
		if err != nil {
			t.Fatal(err)
		}
		return ran
	}
	if ran := call("call", "wiki", "/team"); ran.Exit != 4 || !strings.Contains(ran.Stderr, "no access to wiki") {
		t.Fatalf("without a grant: exit %d %s", ran.Exit, ran.Text())
	}
	alice, err := p.Person(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	g := p.grant(t, alice, api.Ask{Entitlement: "wiki/read", Duration: "20m0s"})
	eventually(t, "the gateway has the grant", func() error {
		r, err := alice.Reach(t.Context(), g.ID)
		if err == nil && (r.Holds == 0 || len(r.Waits) > 0) {
			err = errNotYet
		}
		return err
	})
	// Policy is in force before Envoy knows the host: until then the door closes on it.
	eventually(t, "the door for clients knows the wiki", func() error {
		if ran := call("call", "wiki", "/team"); ran.Exit != 0 {
			return errors.New(ran.Text())
		}
		return nil
	})
	before := len(p.Wiki.Arrivals())
	if ran := call("call", "-i", "wiki", "/team?x=1"); ran.Exit != 0 || !strings.Contains(ran.Stdout, " 200 OK") {
		t.Fatalf("exit %d %s", ran.Exit, ran.Text())
	}
	got := p.Wiki.Arrivals()[before:]
	if len(got) != 1 || got[0].Path != "/team" || strings.Contains(joined(got[0].Header), "DPoP") || got[0].Authorization != "" {
		t.Errorf("the wiki saw %+v", got)
	}
	if ran := call("call", "-X", "DELETE", "wiki", "/team"); ran.Exit != 4 || !strings.Contains(ran.Stdout, "scope") || !strings.Contains(ran.Stdout, "mayfly request wiki/write") {
		t.Errorf("more than is granted: exit %d %s", ran.Exit, ran.Text())
	}
	write := p.grant(t, alice, api.Ask{Entitlement: "wiki/write", Duration: "10m0s", Reason: "a page is wrong"})
	eventually(t, "the gateway has the other grant", func() error {
		r, err := alice.Reach(t.Context(), write.ID)
		if err == nil && (r.Holds == 0 || len(r.Waits) > 0) {
			err = errNotYet
		}
		return err
	})
	if ran := call("call", "-X", "PUT", "-d", "a=1", "wiki", "/team"); ran.Exit != 4 || !strings.Contains(ran.Stderr, "mayfly call wiki --entitlement wiki/write") {
		t.Errorf("of two grants the one that ends last: exit %d %s, want the other one named", ran.Exit, ran.Text())
	}
	if ran := call("call", "-X", "PUT", "-d", "a=1", "-e", "wiki/write", "wiki", "/team"); ran.Exit != 0 {
		t.Errorf("under the one that is named: exit %d %s", ran.Exit, ran.Text())
	}
	if ran := call("exec", "--entitlement", "wiki/read", "--", "sh", "-c", `curl -sS -o /dev/null -w '%{http_code}' -H "X-Mayfly-Key: $MAYFLY_KEY" $MAYFLY_URL/team`); ran.Exit != 0 || !strings.Contains(ran.Stdout, "200") {
		t.Errorf("mayfly exec: exit %d %s", ran.Exit, ran.Text())
	}
	proxied(t, p)
}

// proxied runs mayfly proxy for alice, and calls through it with its key and without.
func proxied(t *testing.T, p *product) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := p.Command(ctx, "alice", "proxy", "wiki", "--gateway", p.gw.Clients)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for lines := bufio.NewScanner(out); len(said) < 2 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		said[name] = strings.Trim(value, "'")
	}
	for _, c := range []struct {
		name   string
		header [2]string
		status int
	}{
		{"with the key", [2]string{"X-Mayfly-Key", said["MAYFLY_KEY"]}, 200},
		{"without", [2]string{"X-Mayfly-Key", ""}, 401},
		{"from a page", [2]string{"Origin", "https://evil.example"}, 403},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, said["MAYFLY_URL"]+"/team", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header[1] != "" {
			req.Header.Set(c.header[0], c.header[1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, res.Status, c.status)
		}
	}
	stop()
	if err := cmd.Wait(); err == nil && cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("exit %d", cmd.ProcessState.ExitCode())
	}
}
