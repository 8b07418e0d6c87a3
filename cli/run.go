package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

const (
	watchEvery = 5 * time.Second  // between two looks whether the grant still runs
	reachTime  = 5 * time.Second  // for gateways to take the grant in, before the program starts
	finishTime = 10 * time.Second // to give the grant back
	drainTime  = 2 * time.Second  // for the program's output to come to its end
)

// runUnder runs the program while the grants of a request are in force, one of an
// entitlement or all of a bundle, and gives them back.
func (a *app) runUnder(ctx context.Context, link *link, made api.Request, gateway, path string, command []string) error {
	defer a.giveBack(ctx, link.client, made.Grant) // and with it the others of its bundle
	told := make(chan grant.Reason, 1)
	ways, err := a.waysOf(ctx, link, made, gateway, told)
	if err != nil {
		return err
	}
	g, err := link.client.ShowGrant(ctx, made.Grant)
	if err != nil {
		return err
	}
	over, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	var environment []string
	for _, w := range ways {
		parts.Go(func() {
			if err := w.Run(over); err != nil {
				a.note("mayfly: the way to %s is closed: %s", w.app, err)
			}
		})
		environment = append(environment, w.environment(len(ways) > 1)...)
	}
	parts.Go(func() { a.watch(over, link.client, g, told) })
	defer parts.Wait()
	defer stop()
	a.note("%s until %s (%s): %s", waysText(ways), clock(g.NotAfter), a.left(g.NotAfter), strings.Join(command, " "))
	return a.start(ctx, path, command, environment)
}

// wayTo is the way to one app, under one grant.
type wayTo struct {
	Loopback
	app, grant string
}

// environment is what the program finds of it. Of several ways each has its app in the
// two names that are the same for every kind: MAYFLY_URL is MAYFLY_STRIPE_URL then.
func (w wayTo) environment(several bool) []string {
	out := w.Environment()
	if !several {
		return out
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return unicode.ToUpper(r)
		}
		return '_'
	}, w.app)
	for i, line := range out {
		for _, of := range []string{"URL", "KEY"} {
			if value, ok := strings.CutPrefix(line, "MAYFLY_"+of+"="); ok {
				out[i] = "MAYFLY_" + name + "_" + of + "=" + value
			}
		}
	}
	return out
}

// apart refuses ways that a program could not tell apart: two Stripe accounts have the
// names of Stripe's clients in common, and a call could reach the other one.
func apart(ways []wayTo) error {
	from := map[string]string{}
	for _, w := range ways {
		for _, line := range w.environment(len(ways) > 1) {
			name, _, _ := strings.Cut(line, "=")
			if other, twice := from[name]; twice {
				return hinted{fmt.Errorf("%s and %s would both be %s to the program: ask for them one by one", other, w.app, name), "mayfly entitlements"}
			}
			from[name] = w.app
		}
	}
	return nil
}

func waysText(ways []wayTo) string {
	texts := make([]string, len(ways))
	for i, w := range ways {
		texts[i] = w.grant + " on " + w.app
	}
	return strings.Join(texts, ", ")
}

// waysOf opens a way to each app of a request's grants, once they are in force.
func (a *app) waysOf(ctx context.Context, link *link, made api.Request, gateway string, told chan<- grant.Reason) ([]wayTo, error) {
	ids := []string{made.Grant}
	if len(made.Grants) > 0 {
		ids = nil
		for _, g := range made.Grants {
			if g.App != policy.OwnApp { // used by the commands of mayfly
				ids = append(ids, g.ID)
			}
		}
	}
	var out []wayTo
	for _, id := range ids {
		reach, err := a.untilInForce(ctx, link.client, id)
		if err != nil {
			return nil, err
		}
		if err := link.mayEnter(reach.App, reach.Callers); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, func(w wayTo) bool { return w.app == reach.App }); i >= 0 {
			if link.person == nil { // the gateway finds the grant that covers a call
				continue
			}
			return nil, oneToken(out[i].grant, id, reach.App)
		}
		passage, err := a.passage(link, reach, gateway)
		if err != nil {
			return nil, err
		}
		passage.Told = func(r grant.Reason) {
			select {
			case told <- r:
			default: // one look is enough
			}
		}
		way, err := a.c.Loopback(passage)
		if err != nil {
			return nil, err
		}
		out = append(out, wayTo{way, reach.App, id})
	}
	if err := apart(out); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is used by the commands of mayfly, not by a program", made.Entitlement)
	}
	return out, nil
}

// mayEnter says whether the app answers at a door that whoever speaks can come by.
func (l *link) mayEnter(app string, callers []string) error {
	door, who := "services", "workloads"
	if l.person != nil {
		door, who = "clients", "programs of people"
	}
	if slices.Contains(callers, door) {
		return nil
	}
	return hinted{fmt.Errorf("%s does not take %s: policy lists its callers as %s", app, who, strings.Join(callers, ", ")),
		"its owner adds " + door + " to callers: of the app"}
}

// mayAskFor looks before anybody is bothered whether a grant could be used. What is
// not known here is left to the request.
func (l *link) mayAskFor(ctx context.Context, entitlement string) error {
	list, err := l.client.Entitlements(ctx)
	if err != nil || entitlement == "" {
		return err
	}
	by := map[string]api.Entitlement{}
	for _, e := range list.Items {
		by[e.Name] = e
	}
	names := []string{entitlement}
	if of := by[entitlement].Entitlements; len(of) > 0 {
		names = of
	}
	on := map[string]string{}
	for _, name := range names {
		e, ok := by[name]
		if !ok || e.App == policy.OwnApp {
			continue
		}
		if err := l.mayEnter(e.App, e.Callers); err != nil {
			return err
		}
		if other, twice := on[e.App]; twice && l.person != nil {
			return oneToken(other, name, e.App)
		}
		on[e.App] = name
	}
	return nil
}

// oneToken is why a program of a person has no two grants on one app: its calls carry the
// token of one of them.
func oneToken(one, other, app string) error {
	return hinted{fmt.Errorf("%s and %s are both on %s, and a token is for one of them: ask for them one by one", one, other, app), "mayfly entitlements"}
}

// passage says how the program gets to a gateway.
func (a *app) passage(link *link, r api.Reach, gateway string) (Passage, error) {
	if gateway == "" {
		gateway = net.JoinHostPort(r.Hosts[0], "443")
	}
	out := Passage{Kind: r.Kind, Host: r.Hosts[0], Gateway: gateway}
	if link.person != nil {
		var err error
		out.Token, out.Prove = link.token(a.c.Now, r), link.person.Key.Prove
		out.Roots, err = a.roots()
		return out, err
	}
	out.Source = link.source
	for _, text := range r.Gateways {
		id, err := spiffeid.FromString(text)
		if err != nil {
			return Passage{}, fmt.Errorf("the server names a gateway %q: %w", text, err)
		}
		out.Gateways = append(out.Gateways, id)
	}
	return out, nil
}

// untilInForce waits a little until every running gateway of the app has taken the
// grant in: before that the program's first call could be refused.
func (a *app) untilInForce(ctx context.Context, client *api.Client, id string) (api.Reach, error) {
	limit := time.NewTimer(reachTime)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		r, err := client.Reach(ctx, id)
		switch {
		case ctx.Err() != nil:
			return r, errInterrupted
		case err != nil:
			return r, err
		case len(r.Hosts) == 0:
			return r, fmt.Errorf("%s is at no host", r.App)
		case r.Holds == 0 && len(r.Waits) == 0:
			a.note("no gateway that serves %s runs now: calls fail until one does", r.App)
			return r, nil
		case len(r.Waits) == 0:
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, errInterrupted
		case <-tick.C:
		case <-limit.C:
			a.note("not in force yet at %s: first calls may be refused", strings.Join(r.Waits, ", "))
			return r, nil
		}
	}
}

// start runs the program with its environment, passes signals on to it, and ends with
// its code, as exit.
func (a *app) start(ctx context.Context, path string, command, environment []string) error {
	cmd := exec.Command(path, command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.c.Stdin, a.c.Stdout, a.c.Stderr
	cmd.Env = append(append(a.c.Environ(), a.noProxy()...), environment...)
	cmd.WaitDelay = drainTime
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s cannot be run: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if !a.fromKeyboard(s) {
				_ = cmd.Process.Signal(s) // it may have ended by now
			}
		case err := <-ended:
			return ending(err, cmd.ProcessState)
		}
	}
}

// forwarded are the signals that mean the program, not mayfly.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

// fromKeyboard reports whether a signal came from the terminal: then the program,
// which is in the same process group, has got it already.
func (a *app) fromKeyboard(s os.Signal) bool {
	return (s == syscall.SIGINT || s == syscall.SIGQUIT) && a.c.Terminal()
}

// ending is the program's own code, and 128 and the signal for one that was killed,
// as shells have it.
func ending(err error, state *os.ProcessState) error {
	if state == nil {
		return err
	}
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return exit{128 + int(s.Signal())}
	}
	return exit{state.ExitCode()}
}

// noProxy keeps the program from sending its calls, and its key, to a proxy that its
// environment names: this machine is reached without one.
func (a *app) noProxy() []string {
	var out []string
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		value := "127.0.0.1,localhost"
		if old := a.c.Getenv(name); old != "" {
			value = old + "," + value
		}
		out = append(out, name+"="+value)
	}
	return out
}

// watch says once when the grant has ended while the program runs. It returns when
// ctx ends.
func (a *app) watch(ctx context.Context, client *api.Client, g api.Grant, told <-chan grant.Reason) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case reason := <-told:
			if !isEnd(reason) {
				continue
			}
		}
		now, err := client.ShowGrant(ctx, g.ID)
		if err != nil || now.EndedAt == "" {
			continue // it is looked at again
		}
		a.note("mayfly: %s has ended (%s): what the program asks %s for is refused from now on", g.ID, now.EndedBy, g.App)
		a.hint("let it end, then run mayfly exec again; mayfly show " + g.ID + " says why")
		<-ctx.Done()
		return
	}
}

// isEnd reports whether a refusal can mean that the grant is over.
func isEnd(r grant.Reason) bool {
	switch r {
	case grant.Ended, grant.Revoked, grant.Idle, grant.PolicyChanged, grant.Locked, grant.NoGrant:
		return true
	}
	return false
}

// giveBack finishes the grant, whatever became of the program.
func (a *app) giveBack(ctx context.Context, client *api.Client, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	_, err := client.Finish(ctx, id)
	if err == nil || isCode(err, "ended") {
		return
	}
	a.note("mayfly: %s could not be given back: %s", id, err)
	a.hint("mayfly done " + id + "; otherwise it ends by itself")
}
