package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/policy"
)

// Config is what the command is made of. Fields without a default are required.
type Config struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal reports whether a person sits at Stdin. Nil: nobody does.
	Terminal func() bool
	// Getenv reads the environment.
	Getenv func(string) string
	// UserConfigDir is the folder of the person's configurations; see os.UserConfigDir.
	UserConfigDir func() (string, error)
	// Live reports whether a person looks at Stderr, so that a line may count down
	// there. Nil: nobody does.
	Live func() bool
	// Environ is the environment that mayfly exec hands on; nil is os.Environ.
	Environ func() []string
	// Loopback opens the way in for the program of one mayfly exec. Nil: there is none.
	Loopback func(Passage) (Loopback, error)
	// Door is the way of a Passage by itself, for mayfly call. Nil: there is none.
	Door func(Passage) (http.RoundTripper, error)
	// Policy returns what policy check and test load with: the catalogues of the
	// kinds of app. It is called only by them.
	Policy func() (policy.Options, error)
	// PolicyAt reads the files of a policy folder in a commit of the repository in dir,
	// by any name of the commit, and returns its full one. Nil: there are no repositories.
	PolicyAt func(ctx context.Context, dir, folder, name string) (files map[string][]byte, commit string, err error)
	// Now is the time that sessions and tables are shown by; nil is time.Now.
	Now func() time.Time
	// Version is shown by --version; empty: development.
	Version string
}

// Run runs one command and returns its exit code. Ending ctx interrupts it.
func Run(ctx context.Context, c Config, args []string) int {
	a, err := newApp(c)
	if err != nil {
		fmt.Fprintln(c.Stderr, "mayfly:", err)
		return exitError
	}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(ctx, cmd, err)
}

// app is one run of the command.
type app struct {
	c       Config
	command string // as typed, for hints
	server  string
	ca      string
	svid    svidFlag
	peer    string // --server-id
	output  outputFlag
}

func newApp(c Config) (*app, error) {
	switch {
	case c.Stdin == nil || c.Stdout == nil || c.Stderr == nil:
		return nil, errors.New("cli: no input or output")
	case c.Getenv == nil || c.UserConfigDir == nil:
		return nil, errors.New("cli: no environment")
	case c.Policy == nil:
		return nil, errors.New("cli: no kinds of app")
	}
	if c.Terminal == nil {
		c.Terminal = func() bool { return false }
	}
	if c.Live == nil {
		c.Live = func() bool { return false }
	}
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Version == "" {
		c.Version = "development"
	}
	return &app{c: c, output: "table"}, nil
}

const rootLong = `Ask for access that ends by itself, give it, end it, and see what was done with it.

The server is --server or $MAYFLY_SERVER, and its roots are --ca or $MAYFLY_CA
(otherwise those of the system). People log in once with mayfly login. A workload
says --svid or MAYFLY_SVID=1, and proves itself with the SVID that it gets at
$SPIFFE_ENDPOINT_SOCKET.

Exit codes: 0 done or granted, 1 error, 2 usage, 3 pending, 4 denied, 5 ended,
6 interrupted while waiting.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "mayfly", Short: "Access that is born for one task and dies with it", Long: rootLong,
		Example: `  mayfly login
  mayfly request stripe/refunds --param charge=ch_1 --param amount_max=5000 --reason "refund of order 17"
  mayfly requests --waiting
  mayfly approve req_01JZZZZZZZZZZZZZZZZZZZZZZZ`,
		Version: a.c.Version, SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.c.Stdin)
	root.SetOut(a.c.Stdout)
	root.SetErr(a.c.Stderr)
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "address of mayflyd, such as https://mayfly.acme.example:8443 ($MAYFLY_SERVER)")
	f.StringVar(&a.ca, "ca", "", "PEM file with the roots that the server is checked with ($MAYFLY_CA)")
	f.Var(&a.svid, "svid", "speak as a workload, with the SVID of that hint, or the first ($MAYFLY_SVID=1)")
	f.Lookup("svid").NoOptDefVal = firstSVID
	f.StringVar(&a.peer, "server-id", "", "SPIFFE ID that the server must prove, with --svid ($MAYFLY_SERVER_ID)")
	f.VarP(&a.output, "output", "o", "table for people, json for programs")
	root.AddCommand(
		a.loginCommand(), a.logoutCommand(), a.whoamiCommand(),
		a.execCommand(), a.callCommand(), a.proxyCommand(), a.requestCommand(), a.requestsCommand(), a.showCommand(), a.withdrawCommand(),
		a.approveCommand(), a.denyCommand(),
		a.grantsCommand(), a.revokeCommand(), a.doneCommand(),
		a.explainCommand(), a.traceCommand(), a.entitlementsCommand(),
		a.nodesCommand(), a.workloadsCommand(), a.quarantineCommand(), a.releaseCommand(), a.lockCommand(), a.unlockCommand(), a.locksCommand(), a.keysCommand(),
		a.auditCommand(), a.policyCommand(), a.observeCommand(),
	)
	return root
}

// run makes a command's function: what it returns is the outcome of a command
// that was understood, while every other error of cobra's is one of usage.
func (a *app) run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.command = cmd.CommandPath()
		err := a.checkSpeaker()
		if err == nil {
			err = f(cmd, args)
		}
		if err != nil {
			return outcome{err}
		}
		return nil
	}
}

// outputFlag is table or json.
type outputFlag string

func (o *outputFlag) String() string { return string(*o) }
func (o *outputFlag) Type() string   { return "table|json" }
func (o *outputFlag) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("want table or json")
	}
	*o = outputFlag(s)
	return nil
}
