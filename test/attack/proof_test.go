package attack

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// provenWorld is a running product whose policy is signed, in which bob approves reports/read
// with his SSH key. Two gateways want proofs on the app reports; one does not.
type provenWorld struct {
	*env.Env
	gateways []*env.Gateway // that want proofs
	open     *env.Gateway
	keys     string // folder of carol's and bob's SSH keys
}

func startProven(t *testing.T) *provenWorld {
	t.Helper()
	b, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: "../../.cache/envoy/envoy"})
	if err != nil {
		need.Missing(t, err)
	}
	path, err := filepath.Abs(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	if env.Tool("bin", "stripe-mock") == "stripe-mock" {
		need.Missing(t, errors.New("no stripe-mock: make tools"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	e, stop, err := env.Launch(ctx, env.Config{Envoy: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	m := &provenWorld{Env: e, keys: t.TempDir()}
	m.signPolicy(t)
	line := fmt.Sprintf("proof: {apps: [reports], policy_signers: [%q], policy_folder: policy, console: %q}", m.public(t, "carol"), e.Public)
	for _, name := range []string{"g1", "g2"} {
		g, err := e.StartGateway(ctx, name, line)
		if err != nil {
			t.Fatal(err)
		}
		m.gateways = append(m.gateways, g)
	}
	if m.open, err = e.StartGateway(ctx, "g3"); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *provenWorld) public(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.keys, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// signPolicy puts a policy in force whose tip git signed with carol's key.
func (m *provenWorld) signPolicy(t *testing.T) {
	t.Helper()
	for _, name := range []string{"carol", "bob"} {
		m.run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", filepath.Join(m.keys, name))
	}
	bob := `{person: bob, accounts: ["user:idp:8b0e41d9"]`
	m.signPolicyWith(t, strings.Replace(m.Files()["mayfly.yaml"], bob, bob+fmt.Sprintf(", keys: [{ssh: %q}]", m.public(t, "bob")), 1)+
		fmt.Sprintf("signers:\n  - {person: carol, key: %q}\n", m.public(t, "carol")))
}

// run runs a program as carol, in the policy's repository.
func (m *provenWorld) run(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = m.Policy.Dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=carol", "GIT_AUTHOR_EMAIL=carol@acme.example",
		"GIT_COMMITTER_NAME=carol", "GIT_COMMITTER_EMAIL=carol@acme.example")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// signPolicyWith puts that mayfly.yaml in force, with reports/read approved by bob's
// signature, in a commit that carol signed.
func (m *provenWorld) signPolicyWith(t *testing.T, main string) {
	t.Helper()
	files := m.Files()
	read := "entitlements/reports/read.yaml"
	signed, _, _ := strings.Cut(files[read], "approve:\n")
	if _, err := m.Policy.Commit("Approve by signature", map[string]string{ // signed by nobody: --dev takes it
		"mayfly.yaml": main,
		read:          signed + "approve: {signed: true, steps: [{any: [bob], count: 1, within: 20m}]}\n",
	}); err != nil {
		t.Fatal(err)
	}
	m.await(t, "the unsigned policy", func() error { return m.inForce(t.Context(), "signed") })
	m.run(t, "git", "-c", "gpg.format=ssh", "-c", "user.signingkey="+filepath.Join(m.keys, "carol.pub"), "commit", "-q", "-S", "--allow-empty", "-m", "Sign it")
	tip, err := exec.CommandContext(t.Context(), "git", "-C", m.Policy.Dir, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	m.await(t, "the signed policy", func() error { return m.inForce(t.Context(), strings.TrimSpace(string(tip))) })
}

// inForce asks for reports/read as the reporter, and looks at what it waits for.
func (m *provenWorld) inForce(ctx context.Context, want string) error {
	r, err := m.ask(ctx)
	if err != nil {
		return err
	}
	if want == "signed" && len(r.Steps) == 1 && r.Steps[0].Signed || r.Policy.Commit == want {
		return nil
	}
	return fmt.Errorf("in force is %s", r.Policy.Commit)
}

func (m *provenWorld) ask(ctx context.Context) (api.Request, error) {
	reporter, err := m.WorkloadAPIClient(ctx, "reporter")
	if err != nil {
		return api.Request{}, err
	}
	return reporter.Request(ctx, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": "/daily"}}, api.NewKey())
}

func (m *provenWorld) await(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := env.Eventually(ctx, what, f); err != nil {
		t.Fatal(err)
	}
}

// call is what a workload gets for a report at a gateway: "" or the reason.
func (m *provenWorld) call(ctx context.Context, who string, g *env.Gateway) (string, error) {
	c, err := m.Caller(ctx, who, g)
	if err != nil {
		return "", err
	}
	defer c.Close()
	resp, err := c.Get("https://" + env.ReportsHost + "/daily/1")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return "", nil
	}
	var body struct{ Code string }
	err = json.NewDecoder(resp.Body).Decode(&body)
	return body.Code, err
}

// gets waits until a workload gets that reason at a gateway.
func (m *provenWorld) gets(t *testing.T, who string, g *env.Gateway, want string) {
	t.Helper()
	m.await(t, fmt.Sprintf("%s gets %q at %s", who, want, g.Name), func() error {
		got, err := m.call(t.Context(), who, g)
		if err == nil && got != want {
			err = fmt.Errorf("it gets %q", got)
		}
		return err
	})
}

// TestProofInsertedGrant: a grant approved with a signature counts at every gateway.
// Then somebody stops mayflyd, writes a grant for another workload into its database,
// on the same request and approvals, and starts it again: no gateway that wants proofs
// counts it, and one that does not shows that the row was good.
func TestProofInsertedGrant(t *testing.T) {
	m := startProven(t)
	ctx := t.Context()
	r, err := m.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if ran, err := m.Login(ctx, "bob"); err != nil {
		t.Fatal(err, ran.Text())
	}
	ran, err := m.CLI(ctx, "bob", "approve", r.ID, "--yes")
	if err != nil || ran.Exit == 0 || !strings.Contains(ran.Text(), "signature") {
		t.Fatalf("approved without a signature: %v %s", err, ran.Text())
	}
	ran, err = m.CLI(ctx, "bob", "approve", r.ID, "--yes", "--sign-with", filepath.Join(m.keys, "bob"))
	if err != nil || ran.Exit != 0 {
		t.Fatalf("approve: %v %s", err, ran.Text())
	}
	for _, g := range append(m.gateways, m.open) {
		m.gets(t, "reporter", g, "")
	}

	if err := m.Control.Stop(); err != nil {
		t.Fatal(err)
	}
	insertGrant(t, filepath.Join(m.Dir, "data", "mayfly.db"), r.ID, env.ShopID)
	if err := m.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range append(m.gateways, m.open) {
		if err := g.Process.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := m.RestartGateway(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	m.gets(t, "shop", m.open, "") // the row is a grant to whoever wants no proof
	for _, g := range m.gateways {
		m.gets(t, "shop", g, string(grant.GrantUnproven))
		m.gets(t, "reporter", g, "") // and the good one still counts, over the restart
	}
}

// insertGrant copies the grant of a request for another holder.
func insertGrant(t *testing.T, file, request, holder string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT name FROM pragma_table_info('grants')`)
	if err != nil {
		t.Fatal(err)
	}
	var columns, values []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, name)
		switch name {
		case "id":
			name = "'" + grant.NewMinter().NewGrantID(time.Now()).String() + "'"
		case "principal":
			name = "'" + holder + "'"
		}
		values = append(values, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	res, err := db.Exec(fmt.Sprintf(`INSERT INTO grants (%s) SELECT %s FROM grants WHERE request = ?`, strings.Join(columns, ", "), strings.Join(values, ", ")), request)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
}
