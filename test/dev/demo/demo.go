package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// Config says what the demo runs on. All fields but Keep are required.
type Config struct {
	Env  env.Config
	Out  io.Writer
	Keep bool // leave it running, until interrupted
}

// story is the demo under way.
type story struct {
	out  io.Writer
	e    *env.Env
	gw   *env.Gateway
	idle *env.Gateway // shares the first one's SVID; stopped with SIGSTOP later
	step int

	refunder *env.Caller
	shop     *env.Caller

	denial  string    // of the first refusal
	request string    // that answers it
	grant   api.Grant // the newest
}

// Run tells the story. It returns nil only if every step went as told.
func Run(ctx context.Context, c Config) error {
	s := &story{out: c.Out}
	began := time.Now()
	err := s.tell(ctx, c)
	if s.e == nil {
		return err
	}
	if err == nil {
		s.say("")
		s.say("Every step went as told, in %s.", time.Since(began).Round(100*time.Millisecond))
		if c.Keep {
			err = s.keep(ctx)
		}
	}
	s.closeCallers()
	if cerr := s.e.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s *story) tell(ctx context.Context, c Config) error {
	for _, chapter := range []func(context.Context) error{
		func(ctx context.Context) error { return s.begin(ctx, c.Env) },
		s.refused, s.asked, s.approved, s.used, s.held, s.timeEnds, s.revoked, s.person, s.program, s.called, s.traced, s.verified,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// chapter begins a numbered part.
func (s *story) chapter(format string, args ...any) {
	s.step++
	s.say("")
	s.say("%d. %s", s.step, fmt.Sprintf(format, args...))
}

func (s *story) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for line := range strings.Lines(text + "\n") {
		fmt.Fprint(s.out, strings.TrimRight(line, " \n"), "\n")
	}
}

// fact is one line below a chapter.
func (s *story) fact(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	s.say("   %s", strings.ReplaceAll(text, "\n", "\n   "))
}

// run runs mayfly, shows the command, and expects an exit code.
func (s *story) run(ctx context.Context, who string, exit int, args ...string) (env.Ran, error) {
	s.fact("%s$ mayfly %s", who, quoted(args))
	ran, err := s.e.CLI(ctx, who, args...)
	if err != nil {
		return ran, err
	}
	if ran.Exit != exit {
		return ran, fmt.Errorf("mayfly %s ended with %d, expected %d:\n%s", strings.Join(args, " "), ran.Exit, exit, ran.Text())
	}
	return ran, nil
}

// ask runs mayfly with -o json and reads its answer.
func (s *story) ask(ctx context.Context, who string, exit int, into any, args ...string) error {
	s.fact("%s$ mayfly %s", who, quoted(args))
	ran, err := s.e.CLI(ctx, who, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if ran.Exit != exit {
		return fmt.Errorf("mayfly %s ended with %d, expected %d:\n%s", strings.Join(args, " "), ran.Exit, exit, ran.Text())
	}
	return unmarshal(ran, into)
}

func unmarshal(ran env.Ran, into any) error {
	if err := json.Unmarshal([]byte(ran.Stdout), into); err != nil {
		return fmt.Errorf("mayfly %s: %w: %s", strings.Join(ran.Args, " "), err, ran.Text())
	}
	return nil
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if strings.ContainsAny(a, " ") {
			a = `"` + a + `"`
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}

func (s *story) closeCallers() {
	for _, c := range []*env.Caller{s.refunder, s.shop} {
		if c != nil {
			c.Close()
		}
	}
}

// keep leaves the product running and says how to use it.
func (s *story) keep(ctx context.Context) error {
	if err := s.idle.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s.say("")
	s.say("It stays running until you press Ctrl-C. In another terminal, as bob (payments-leads, security):")
	s.say("")
	for _, v := range s.e.Environment("bob") {
		s.say("  export %s", v)
	}
	s.say("  %s/mayfly grants --everyone", s.e.Bin)
	s.say("")
	s.say("or as the workload, in a third one:")
	s.say("")
	for _, v := range s.e.Environment("refunder") {
		s.say("  export %s", v)
	}
	s.say("  export MAYFLY_GATEWAY=%s", s.gw.Address)
	s.say("  %s/mayfly request stripe/refunds --param charge=ch_1 --param amount_max=5000 --reason \"refund of order 17\"", s.e.Bin)
	s.say("  %s/mayfly exec --entitlement reports/read --param folder=/daily -- sh -c 'curl -H \"X-Mayfly-Key: $MAYFLY_KEY\" $MAYFLY_URL/daily/today'", s.e.Bin)
	s.say("")
	s.keepCalled()
	s.say("or as a person in a browser that trusts %s (alice, bob and carol need no password):", s.e.RootsFile())
	s.say("")
	s.say("  the console   %s/", s.e.Public)
	s.say("  the wiki      %s   with %s resolved to %s", s.e.App(env.WikiHost, "/"), env.WikiHost, gatewayHost(s.gw))
	s.say("")
	s.say("The gateway for %s and %s listens on %s; logs are in %s.", env.StripeHost, env.ReportsHost, s.gw.Address, s.e.Dir)
	<-ctx.Done()
	return nil
}

// gatewayHost is the address at which a gateway takes people.
func gatewayHost(g *env.Gateway) string {
	host, _, err := net.SplitHostPort(g.People)
	if err != nil {
		return g.People
	}
	return host
}
