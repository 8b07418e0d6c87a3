package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mayflyproxy/mayfly/api"
)

// exitNotStarted is what mayfly exec returns when the program was not started, and
// no other code says why (contracts §8).
const exitNotStarted = 125

// execution is what exec was called with.
type execution struct {
	entitlement string
	params      []string
	duration    time.Duration
	reason      string
	request     string
	gateway     string
	noWait      bool
}

func (a *app) execCommand() *cobra.Command {
	var in execution
	cmd := &cobra.Command{
		Use: "exec --entitlement NAME [--param NAME=VALUE]… -- COMMAND [ARGUMENT]…", Short: "Run a program with access that ends with it",
		Long: `Asks for an entitlement, waits until it is granted, and runs a program that reaches
the app through this machine's loopback. The program finds address and key in its
environment (docs/exec.md has the table):

  every app     MAYFLY_URL, MAYFLY_KEY
  kind stripe   STRIPE_API_BASE, STRIPE_API_KEY

Of a bundle there is a way to each app, and the app stands in the names: MAYFLY_WIKI_URL.

The key is good for this run only, on this machine, for this user; the app's own
credential never comes here. When the program has ended, the grant is given back. If
mayfly itself is killed, nothing gets through any more, and the grant ends when it has
lain unused for its idle_after.

Exit codes: the program's own; 125 if it was not started, 2 usage, 3 pending with
--no-wait, 4 denied, 5 ended before it was started, 6 interrupted while waiting.`,
		Example: `  mayfly exec --svid --entitlement stripe/refunds --param charge=ch_1 --param amount_max=5000 --why "order 17" -- \
    sh -c 'stripe refunds create --charge ch_1 --api-base $STRIPE_API_BASE'
  mayfly exec --svid --entitlement reports/read --for 10m -- sh -c 'curl -H "X-Mayfly-Key: $MAYFLY_KEY" $MAYFLY_URL/daily/today'
  mayfly exec --svid --request req_01JZZZZZZZZZZZZZZZZZZZZZZZ -- ./refund.py`,
		Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.command = cmd.CommandPath()
		if cmd.ArgsLenAtDash() != 0 || len(args) == 0 {
			return outcome{usage{"name the program behind --", "mayfly exec --entitlement stripe/refunds --param charge=ch_1 -- COMMAND"}}
		}
		if err := a.exec(cmd.Context(), in, args); err != nil {
			return outcome{notStarted{err}}
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVarP(&in.entitlement, "entitlement", "e", "", "what to ask for; mayfly entitlements lists them")
	f.StringArrayVarP(&in.params, "param", "p", nil, "a parameter, name=value; again for each one")
	f.Var(span{&in.duration}, "for", "how long at most, such as 30m; left out: the entitlement's default")
	f.StringVar(&in.reason, "why", "", "why, in words that approvers read")
	f.StringVar(&in.request, "request", "", "go on with a request that was made before, in place of --entitlement")
	f.StringVar(&in.gateway, "gateway", "", "host:port of a gateway ($MAYFLY_GATEWAY); left out: port 443 of the app's host")
	f.BoolVar(&in.noWait, "no-wait", false, "do not wait for approvals: exit 3")
	f.SetNormalizeFunc(renamed(map[string]string{"duration": "for", "reason": "why"})) // as mayfly request calls them
	return cmd
}

// renamed lets flags be typed by the names that another command has for them.
func renamed(names map[string]string) func(*pflag.FlagSet, string) pflag.NormalizedName {
	return func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if other, ok := names[name]; ok {
			name = other
		}
		return pflag.NormalizedName(name)
	}
}

// notStarted marks the error of a run whose program was not started.
type notStarted struct{ err error }

func (n notStarted) Error() string { return n.err.Error() }
func (n notStarted) Unwrap() error { return n.err }

// exec asks, waits, runs and gives back.
func (a *app) exec(ctx context.Context, in execution, command []string) error {
	path, err := findProgram(command[0])
	if err != nil {
		return err
	}
	if in.gateway == "" {
		in.gateway = a.c.Getenv("MAYFLY_GATEWAY")
	}
	if err := in.check(); err != nil {
		return err
	}
	if a.c.Loopback == nil {
		return errors.New("this mayfly cannot open a loopback port")
	}
	link, err := a.link(ctx)
	if err != nil {
		return err
	}
	defer link.close()
	if err := link.mayAskFor(ctx, in.entitlement); err != nil {
		return err
	}
	made, err := a.askFor(ctx, link.client, in)
	if err != nil {
		return err
	}
	if made.State == "pending" {
		if in.noWait {
			a.note("%s waits for %s", made.ID, waitsFor(made))
			a.hintAgain(made.ID, command)
			return exit{exitPending}
		}
		if made, err = a.countDown(ctx, link.client, made); err != nil {
			if errors.Is(err, errInterrupted) {
				a.hintAgain(made.ID, command)
			}
			return err
		}
	}
	if made.State != "approved" {
		return a.refusedRun(made)
	}
	return a.runUnder(ctx, link, made, in.gateway, path, command)
}

func (in execution) check() error {
	switch {
	case in.entitlement == "" && in.request == "":
		return usage{"name an entitlement", "mayfly entitlements lists them; then mayfly exec --entitlement stripe/refunds --param charge=ch_1 -- COMMAND"}
	case in.request != "" && (in.entitlement != "" || len(in.params) > 0 || in.duration != 0 || in.reason != ""):
		return usage{"--request goes on with what was asked for: --entitlement, --param, --for and --why stand in it", "mayfly exec --request " + in.request + " -- COMMAND"}
	}
	return checkGateway(in.gateway)
}

// findProgram looks for the program before anybody is asked for anything.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", hinted{fmt.Errorf("%s cannot be run: %w", name, unwrapped(err)), "check the name, its x bit and PATH: nothing was asked for yet"}
	}
	return path, nil
}

func unwrapped(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// askFor makes the request, or reads the one that was made before.
func (a *app) askFor(ctx context.Context, client *api.Client, in execution) (api.Request, error) {
	if in.request != "" {
		return client.ShowRequest(ctx, in.request)
	}
	params, err := readParams(in.params)
	if err != nil {
		return api.Request{}, err
	}
	ask := api.Ask{Entitlement: in.entitlement, Params: params, Reason: in.reason}
	if in.duration != 0 {
		ask.Duration = in.duration.String()
	}
	return client.Request(ctx, ask, api.NewKey())
}

// refusedRun says why a request came to nothing.
func (a *app) refusedRun(r api.Request) error {
	text := "request " + r.ID + " is " + stateText(r)
	if r.Sentence != "" {
		text += ": " + r.Sentence
	}
	a.note("mayfly: %s", text)
	if r.State == "withdrawn" {
		return exit{exitEnded}
	}
	a.hintWhy(r, "--why")
	return exit{exitDenied}
}

func (a *app) hintAgain(request string, command []string) {
	a.hint("mayfly exec --request " + request + " -- " + strings.Join(command, " ") + " goes on when it is approved")
}

// countDown waits until a request is decided, and shows who is waited for and how
// long they have: on a terminal in one line that counts, else once a minute.
func (a *app) countDown(ctx context.Context, client *api.Client, r api.Request) (api.Request, error) {
	live := a.c.Live()
	last := ""
	said := a.c.Now()
	show := func(r api.Request) {
		line := r.ID + " waits for " + waitsFor(r) + ", " + a.left(r.DecideBy) + " left"
		switch {
		case live && line != last:
			fmt.Fprint(a.c.Stderr, "\r\x1b[K"+plain(line))
		case !live && (last == "" || a.c.Now().Sub(said) >= time.Minute):
			a.note("%s", line)
			said = a.c.Now()
		}
		last = line
	}
	show(r)
	if !live {
		a.hint("an approver types: mayfly approve " + r.ID)
	}
	r, err := a.untilDecided(ctx, client, r, show)
	if live {
		fmt.Fprintln(a.c.Stderr)
	}
	return r, err
}
