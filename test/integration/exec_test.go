package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// quick is stripe/refunds, granted at once.
const quick = `entitlement: stripe/quick
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $amount_max}}}
  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  amount_max: {type: minor_units, required: true, min: 1, max: 50000}
sensitivity: money
grant: {max: 2h, default: 30m, idle_after: 15m}
request:
  who: ["spiffe://acme.example/ns/pay/sa/refunder"]
  for: [self]
  justification: text
approve:
  auto: {when: "request.duration <= duration('30m')"}
`

// mayQuick puts stripe/quick in force for one test, which changes it in pairs.
func (p *product) mayQuick(t *testing.T, change ...string) {
	t.Helper()
	p.commit(t, "Add quick refunds", map[string]string{"entitlements/stripe/quick.yaml": strings.NewReplacer(change...).Replace(quick)})
	eventually(t, "quick refunds", func() error {
		list, err := p.refunder.Entitlements(t.Context())
		for _, e := range list.Items {
			if e.Name == "stripe/quick" {
				return nil
			}
		}
		return firstOf(err, errNotYet)
	})
}

// exec is one mayfly exec of the refunder under stripe/quick.
func (p *product) exec(t *testing.T, charge string, program ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{
		"exec", "--entitlement", "stripe/quick", "--param", "charge=" + charge, "--param", "amount_max=5000", "--why", "order 17", "--gateway", p.gw.Address, "--",
	}, program...)
	cmd := p.Command(context.WithoutCancel(t.Context()), "refunder", args...)
	home := t.TempDir()
	cmd.Env = append(cmd.Env, "STRIPE_CLI_TELEMETRY_OPTOUT=1", "XDG_CONFIG_HOME="+home, "HOME="+home,
		"HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1") // where the key must not go
	return cmd
}

// newest is the newest grant of the refunder, and whether it is live.
func (p *product) newest(t *testing.T) api.Grant {
	t.Helper()
	page, err := p.refunder.Grants(t.Context(), api.GrantsQuery{Entitlement: "stripe/quick", All: true, Limit: 1})
	if err != nil || len(page.Items) == 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	return page.Items[0]
}

// Programs that know nothing of Mayfly give money back through mayfly exec, and
// hold neither Stripe's key nor a grant when they have ended.
func TestProgramsRunUnderExec(t *testing.T) {
	p := theProduct(t)
	p.mayQuick(t)
	for _, c := range []struct {
		name, charge string
		program      func(t *testing.T) []string
	}{
		{"the Stripe CLI", "ch_cli", func(t *testing.T) []string {
			return []string{"sh", "-c", `exec "$0" refunds create --charge ch_cli --amount 4200 --api-key "$STRIPE_API_KEY" --api-base "$STRIPE_API_BASE"`, stripeCLI(t)}
		}},
		{"the Stripe CLI with the key from its environment", "ch_cli2", func(t *testing.T) []string {
			return []string{"sh", "-c", `exec "$0" refunds create --charge ch_cli2 --amount 4200 --api-base "$STRIPE_API_BASE"`, stripeCLI(t)}
		}},
		{"curl", "ch_curl", func(t *testing.T) []string {
			return []string{"sh", "-c", `exec "$0" -sS --fail-with-body -u "$STRIPE_API_KEY:" -d charge=ch_curl -d amount=4200 "$STRIPE_API_BASE/v1/refunds"`, tool(t, "curl")}
		}},
		{"Python", "ch_python", func(t *testing.T) []string {
			return []string{tool(t, "python3"), "-c", `
import os, urllib.parse, urllib.request
r = urllib.request.Request(os.environ["STRIPE_API_BASE"] + "/v1/refunds", urllib.parse.urlencode({"charge": "ch_python", "amount": 4200}).encode(),
                           {"Authorization": "Bearer " + os.environ["STRIPE_API_KEY"]})
print(urllib.request.urlopen(r).read().decode())`}
		}},
		{"Node's fetch", "ch_node", func(t *testing.T) []string {
			return []string{need.Node(t), "-e", `
fetch(process.env.STRIPE_API_BASE + "/v1/refunds", {method: "POST", body: new URLSearchParams({charge: "ch_node", amount: 4200}),
  headers: {authorization: "Bearer " + process.env.STRIPE_API_KEY}}).then(async r => { console.log(await r.text()); process.exit(r.ok ? 0 : 1) })`}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(p.Stripe.Arrivals())
			cmd := p.exec(t, c.charge, c.program(t)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, &stdout, &stderr)
			}
			if !strings.Contains(stdout.String(), `"object": "refund"`) && !strings.Contains(stdout.String(), `"object":"refund"`) {
				t.Errorf("no refund: %s", &stdout)
			}
			arrivals := p.Stripe.Arrivals()[before:]
			if len(arrivals) != 1 || arrivals[0].Authorization != "Bearer "+env.RefundsKey || strings.Contains(joined(arrivals[0].Header), "rk_live_mayfly") {
				t.Errorf("Stripe saw %+v", arrivals)
			}
			if g := p.newest(t); g.State != "ended" || g.EndedBy != "ended" || !strings.Contains(stderr.String(), g.ID) {
				t.Errorf("the grant is %s (%s); told was %s", g.State, g.EndedBy, &stderr)
			}
		})
	}
}

func stripeCLI(t *testing.T) string {
	return filepath.Join(need.NPM(t, "@stripe/cli-linux-x64"), "bin", "stripe")
}

// tool is the path of a program on PATH, or ends the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		need.Missing(t, err)
	}
	return path
}

// The gateway's no reaches the program in Stripe's shape, and the exit code is the
// program's.
func TestARefusalReachesTheProgramUnderExec(t *testing.T) {
	p := theProduct(t)
	p.mayQuick(t)
	cmd := p.exec(t, "ch_less", "sh", "-c", `"$0" refunds create --charge ch_less --amount 5001 --api-base "$STRIPE_API_BASE"; exit 9`, stripeCLI(t))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 9 || !strings.Contains(string(out), "mayfly_constraint") {
		t.Errorf("%v: %s", err, out)
	}
}

// running is a mayfly exec whose program has said where it is.
type running struct {
	cmd      *exec.Cmd
	url, key string
	child    int
	stderr   *lockedBuffer
	lines    *bufio.Reader
}

// sleeping is a program that says its pid, address and key, and then waits for SIGTERM.
func sleeping() []string {
	return []string{"sh", "-c", `trap 'echo got TERM; exit 3' TERM; echo $$ $MAYFLY_URL $MAYFLY_KEY; while :; do sleep 0.1; done`}
}

// sleeper runs it under stripe/quick.
func (p *product) sleeper(t *testing.T, charge string) *running {
	t.Helper()
	return startSleeper(t, p.exec(t, charge, sleeping()...))
}

// startSleeper starts cmd and waits until its program has said where it is.
func startSleeper(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{cmd: cmd, stderr: &lockedBuffer{}}
	r.cmd.Stderr, r.cmd.WaitDelay = r.stderr, time.Second // the program may hold it open
	out, w, err := os.Pipe()                              // not StdoutPipe: the program may outlive mayfly
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stdout = w
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	r.lines = bufio.NewReader(out)
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		if r.child > 0 {
			_ = syscall.Kill(r.child, syscall.SIGKILL)
		}
		_ = r.cmd.Wait()
		_ = out.Close()
	})
	line, err := r.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, r.stderr)
	}
	if _, err := fmt.Sscan(line, &r.child, &r.url, &r.key); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r
}

// refund asks as any program of this user that has the key.
func (r *running) refund(t *testing.T, charge string) (answer, error) {
	t.Helper()
	return caller{http.DefaultClient}.do(t.Context(), http.MethodPost, r.url+"/v1/refunds", strings.NewReader("charge="+charge+"&amount=1"),
		"Authorization", "Bearer "+r.key, "Content-Type", "application/x-www-form-urlencoded")
}

// A signal to mayfly is one to its program, and the grant is given back after.
func TestExecPassesSignalsOn(t *testing.T) {
	p := theProduct(t)
	p.mayQuick(t)
	r := p.sleeper(t, "ch_signal")
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(r.lines)
	err := r.cmd.Wait()
	if r.cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(rest), "got TERM") {
		t.Errorf("%v: %s %s", err, rest, r.stderr)
	}
	if g := p.newest(t); g.State != "ended" {
		t.Errorf("the grant is %s", g.State)
	}
}

// What ended while the program runs is said once, and the program goes on.
func TestExecSaysThatTheGrantEnded(t *testing.T) {
	p := theProduct(t)
	p.mayQuick(t)
	r := p.sleeper(t, "ch_over")
	g := p.newest(t)
	if _, err := p.bob.Revoke(t.Context(), g.ID, api.Because{Reason: "a mistake"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway refuses", func() error {
		a, err := r.refund(t, "ch_over")
		if err == nil && a.reason() != "revoked" {
			err = fmt.Errorf("%d %s", a.status, a.text)
		}
		return err
	})
	eventually(t, "it is said", func() error {
		if !strings.Contains(r.stderr.String(), g.ID+" has ended (revoked)") {
			return errors.New(r.stderr.String())
		}
		return nil
	})
	if _, err := r.refund(t, "ch_over"); err != nil {
		t.Error("the way is closed:", err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	if n := strings.Count(r.stderr.String(), "has ended"); n != 1 {
		t.Errorf("said %d times: %s", n, r.stderr)
	}
	if got := p.newest(t); got.State != "revoked" {
		t.Errorf("the grant is %s: giving it back changed it", got.State)
	}
}

// SIGKILL leaves no way in, not even with the program that lives on, and the grant
// ends when it has lain unused for its idle_after.
func TestAKilledExecLeavesNothing(t *testing.T) {
	p := theProduct(t)
	p.mayQuick(t, "idle_after: 15m", "idle_after: 10s")
	r := p.sleeper(t, "ch_killed")
	if a, err := r.refund(t, "ch_killed"); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s, %v", a.status, a.text, err)
	}
	used := time.Now()
	g := p.newest(t)
	if g.State != "active" {
		t.Fatalf("the grant is %s", g.State)
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	if err := syscall.Kill(r.child, 0); err != nil {
		t.Fatal("the program ended with mayfly:", err)
	}
	if sockets := socketsOf(t, r.child); len(sockets) > 0 {
		t.Errorf("the program holds sockets of mayfly: %v", sockets)
	}
	if a, err := r.refund(t, "ch_killed"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("there is still a way in: %d %s, %v", a.status, a.text, err)
	}
	for deadline := time.Now().Add(patience + 30*time.Second); ; {
		got, err := p.refunder.ShowGrant(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.State != "active" {
			if got.State != "ended" || got.EndedBy != "idle" || time.Since(used) < 9*time.Second {
				t.Errorf("%s (%s) after %s", got.State, got.EndedBy, time.Since(used))
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the grant is active %s after its last use", time.Since(used))
		}
		<-time.After(50 * time.Millisecond)
	}
}

// socketsOf lists the sockets among the descriptors of a process.
func socketsOf(t *testing.T, pid int) []string {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			out = append(out, e.Name()+" "+to)
		}
	}
	return out
}

// People are waited for, with the time that they have; nothing runs before.
func TestExecWaitsForPeople(t *testing.T) {
	p := theProduct(t)
	cmd := p.Command(t.Context(), "refunder", "exec", "--entitlement", "stripe/refunds", "--param", "charge=ch_wait", "--param", "amount_max=5000",
		"--for", "10m", "--why", "order 17", "--gateway", p.gw.Address, "--", "sh", "-c", `curl -sS -u "$STRIPE_API_KEY:" -d charge=ch_wait -d amount=1 "$STRIPE_API_BASE/v1/refunds"`)
	tool(t, "curl")
	stderr, stdout := &lockedBuffer{}, &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pending api.Request
	eventually(t, "it asks", func() error {
		page, err := p.refunder.Requests(t.Context(), api.RequestsQuery{State: "pending", App: "stripe"})
		for _, r := range page.Items {
			if r.Params["charge"] == "ch_wait" {
				pending = r
				return nil
			}
		}
		return firstOf(err, errNotYet)
	})
	eventually(t, "it says who is waited for", func() error {
		if !regexp.MustCompile(pending.ID + ` waits for 1 of 1 approvals of group:idp/payments-leads, (20m0s|19m\d+s) left`).MatchString(stderr.String()) {
			return errors.New(stderr.String())
		}
		return nil
	})
	if stdout.String() != "" {
		t.Error("the program ran before anybody approved")
	}
	shown, err := p.bob.ShowRequest(t.Context(), pending.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.bob.Approve(t.Context(), pending.ID, api.Verdict{OfferSHA256: shown.Offer.SHA256}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(stdout.String(), `"refund"`) {
		t.Errorf("%v: %s %s", err, stdout, stderr)
	}
}

// A person's program comes by the door for clients, with a token for this grant that
// is bound to the key of the session.
func TestAPersonsProgramRunsUnderExec(t *testing.T) {
	p := theProduct(t)
	text := strings.Replace(p.Files()["apps/stripe.yaml"], "callers: [services]", "callers: [services, clients]", 1)
	p.commit(t, "Open Stripe to clients", map[string]string{
		"apps/stripe.yaml":               text,
		"entitlements/stripe/quick.yaml": strings.Replace(quick, "who: [", "who: [group:idp/support, ", 1),
	})
	if ran, err := p.Login(t.Context(), "alice"); err != nil || ran.Exit != 0 {
		t.Fatalf("%v: %s", err, ran.Text())
	}
	before := len(p.Stripe.Arrivals())
	eventually(t, "the way of clients", func() error {
		ran, err := p.CLI(t.Context(), "alice", "exec", "--entitlement", "stripe/quick", "--param", "charge=ch_person", "--param", "amount_max=5000", "--why", "order 17",
			"--gateway", p.gw.Clients, "--", "sh", "-c", `"$0" -sS --fail-with-body -u "$STRIPE_API_KEY:" -d charge=ch_person -d amount=4200 "$STRIPE_API_BASE/v1/refunds"`, tool(t, "curl"))
		if err == nil && (ran.Exit != 0 || !strings.Contains(ran.Stdout, `"refund"`)) {
			err = errors.New(ran.Text())
		}
		return err
	})
	arrivals := p.Stripe.Arrivals()[before:]
	if len(arrivals) != 1 || arrivals[0].Authorization != "Bearer "+env.RefundsKey || arrivals[0].Header.Get("DPoP") != "" {
		t.Errorf("Stripe saw %+v", arrivals)
	}
	ran, err := p.CLI(t.Context(), "alice", "grants", "-o", "json")
	if err != nil || strings.Contains(ran.Stdout, "stripe/quick") {
		t.Errorf("a grant is left: %v %s", err, ran.Text())
	}
}

// SVIDs are replaced while a program runs, its own and the gateway's, and no call is
// lost by it.
func TestExecLosesNoCallWhenSVIDsAreReplaced(t *testing.T) {
	p := theProduct(t)
	r := startSleeper(t, p.Command(t.Context(), "reporter", append([]string{"exec", "--entitlement", "reports/read", "--gateway", p.gw.Address, "--"}, sleeping()...)...))
	before := len(p.Reports.Arrivals())
	const rounds, calls = 5, 40
	for round := range rounds {
		p.RotateSVIDs()
		for n := range calls {
			a, err := caller{http.DefaultClient}.do(t.Context(), http.MethodGet, r.url+"/daily/1", nil, "X-Mayfly-Key", r.key)
			if err != nil || a.status != http.StatusOK {
				t.Fatalf("round %d, call %d: %d %s, %v; %s", round, n, a.status, a.text, err, r.stderr)
			}
		}
	}
	if n := len(p.Reports.Arrivals()) - before; n != rounds*calls {
		t.Errorf("%d of %d calls arrived", n, rounds*calls)
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	if r.cmd.ProcessState.ExitCode() != 3 || strings.Contains(r.stderr.String(), "could not be given back") {
		t.Errorf("at the end: %s", r.stderr)
	}
}
