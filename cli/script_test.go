package cli_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mayflyproxy/mayfly/access"
)

// TestScripts runs testdata/*.txt, each in a world of its own. Beside testscript's
// own commands there are:
//
//	mayfly ARGS…           run the command, which must exit 0 (with !: must not)
//	exits N ARGS…          run the command, which must exit with N
//	login NAME ARGS…       mayfly login ARGS…, with NAME at the browser
//	as NAME                who speaks from now on: a person, or svid:HINT
//	type TEXT              what a person at a terminal answers the next command
//	save VAR REGEXP        keep the first group, found in the last output
//	pass DURATION          mayflyd's clocks move on
//	join RUN, ack RUN      a sidecar starts; it acknowledges everything
//	seen RUN, forked RUN   it keeps the newest checkpoint; one of another history
//	refused VAR CODE OPERATION ATTRIBUTES…   it refuses the refunder, on record
//	did GRANT OPERATION ATTRIBUTES…  the refunder did something under a grant, on record
//	observed VAR CODE OPERATION ATTRIBUTES…  it would have, on an app in observe mode
//	enter DIR COMMIT WHO…  the files of DIR enter into force as a commit that WHO signed
//	golden FILE            the last output is that of testdata/golden
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			s := &script{world: newWorld(t)}
			testscript.Run(t, testscript.Params{
				Files: []string{f}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(e *testscript.Env) error {
					e.Setenv("MAYFLY_CA", s.roots)
					e.Setenv("PUBLIC", s.public)
					e.Setenv("WORKLOADS", s.workloads)
					e.Setenv("MAYFLY_SERVER", s.public)
					e.Setenv("MAYFLY_CONFIG_DIR", filepath.Join(e.WorkDir, "nobody"))
					policy, err := filepath.Abs("../examples/policy")
					e.Setenv("POLICY", policy)
					return err
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"mayfly": s.mayfly, "exits": s.exits, "login": s.login, "as": s.as, "type": s.typed, "save": s.save,
					"pass": s.passed, "join": s.joined, "keep": s.kept, "ack": s.acked, "golden": s.golden, "refused": s.refused, "did": s.did, "observed": s.observed,
					"enter":  s.entered,
					"seen":   func(_ *testscript.TestScript, _ bool, args []string) { s.keeps(args[0], false) },
					"forked": func(_ *testscript.TestScript, _ bool, args []string) { s.keeps(args[0], true) },
				},
			})
		})
	}
}

// script is one script that runs.
type script struct {
	*world
	answer   string
	terminal bool
}

func (s *script) run(ts *testscript.TestScript, args []string) int {
	in, out, errs := &pipe{}, &pipe{}, &pipe{}
	_, _ = in.Write([]byte(s.answer))
	terminal := s.terminal
	s.answer, s.terminal = "", false
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, a := range args { // folders are the script's
		if strings.HasPrefix(a, "./") {
			args[i] = ts.MkAbs(a)
		}
	}
	code := s.cli(ctx, in, out, errs, terminal, ts.Getenv, args...)
	fmt.Fprint(ts.Stdout(), out.String())
	fmt.Fprint(ts.Stderr(), errs.String())
	return code
}

func (s *script) mayfly(ts *testscript.TestScript, neg bool, args []string) {
	if code := s.run(ts, args); (code == 0) == neg {
		ts.Fatalf("mayfly %s exits with %d", strings.Join(args, " "), code)
	}
}

func (s *script) exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := s.run(ts, args[1:]); code != want {
		ts.Fatalf("mayfly %s exits with %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func (s *script) login(ts *testscript.TestScript, neg bool, args []string) {
	s.as(ts, false, args[:1])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs, browsed := &pipe{}, make(chan error, 1)
	out := s.atBrowser(ctx, args[0], browsed)
	if code := s.cli(ctx, &pipe{}, out, errs, false, ts.Getenv, append([]string{"login"}, args[1:]...)...); (code == 0) == neg {
		ts.Fatalf("mayfly login exits with %d: %s %s", code, out, errs)
	}
	if err := <-browsed; err != nil && !neg {
		ts.Fatalf("the browser: %v", err)
	}
	fmt.Fprint(ts.Stdout(), out.String())
	fmt.Fprint(ts.Stderr(), errs.String())
}

func (s *script) as(ts *testscript.TestScript, _ bool, args []string) {
	hint, workload := strings.CutPrefix(args[0], "svid:")
	ts.Setenv("MAYFLY_SVID", "")
	ts.Setenv("MAYFLY_SERVER", s.public)
	ts.Setenv("MAYFLY_CONFIG_DIR", ts.MkAbs(filepath.Join("config", filepath.Base(args[0]))))
	if workload {
		ts.Setenv("HINT", hint)
		ts.Setenv("MAYFLY_SVID", "1")
		ts.Setenv("MAYFLY_SERVER", s.workloads)
		ts.Setenv("MAYFLY_SERVER_ID", "spiffe://acme.example"+mayflyd)
		ts.Setenv("SPIFFE_ENDPOINT_SOCKET", s.socket)
	}
}

func (s *script) typed(_ *testscript.TestScript, _ bool, args []string) {
	s.answer, s.terminal = args[0]+"\n", true
}

func (s *script) save(ts *testscript.TestScript, _ bool, args []string) {
	for _, from := range []string{"stdout", "stderr"} {
		if found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile(from)); found != nil {
			ts.Setenv(args[0], found[1])
			return
		}
	}
	ts.Fatalf("no %s in the last output", args[1])
}

func (s *script) passed(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	s.pass(d)
}

func (s *script) entered(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	before, _, err := s.NextSigners(ctx)
	ts.Check(err)
	c := access.PolicyCommit{
		Files: filesOf(s.t, ts.MkAbs(args[0])), Commit: strings.Repeat(args[1], 40/len(args[1])), Signer: args[2], Cosigners: args[3:], After: before.Commit(),
	}
	out, err := s.ApplyPolicy(ctx, c)
	ts.Check(err)
	if out.Waits != nil { // it has been seen: its time goes on from here
		s.pass(before.Settle())
		out, err = s.ApplyPolicy(ctx, c)
		ts.Check(err)
	}
	if out.Waits != nil {
		ts.Fatalf("commit %s still waits", args[1])
	}
}

func (s *script) joined(_ *testscript.TestScript, _ bool, args []string) { s.join(args[0]) }
func (s *script) kept(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(s.KeepTokenKeys(context.Background()))
}
func (s *script) acked(_ *testscript.TestScript, _ bool, args []string) { s.ack(args[0]) }
