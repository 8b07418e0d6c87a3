package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// The exit codes of contracts §8.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitPending     = 3
	exitDenied      = 4
	exitEnded       = 5
	exitInterrupted = 6
)

// outcome marks the error of a command that was understood and ran.
type outcome struct{ err error }

func (o outcome) Error() string { return o.err.Error() }
func (o outcome) Unwrap() error { return o.err }

// exit is a way to end that was already told: only its code is left.
type exit struct{ code int }

func (e exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

// usage is a command that does not make sense, with a hint on what to type.
type usage struct{ text, hint string }

func (u usage) Error() string { return u.text }

// hinted is an error with a hint on what to type next.
type hinted struct {
	err  error
	hint string
}

func (h hinted) Error() string { return h.err.Error() }
func (h hinted) Unwrap() error { return h.err }

// errInterrupted says that somebody stopped the command while it waited.
var errInterrupted = errors.New("interrupted")

// report tells of an error of command on stderr and returns the exit code.
func (a *app) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	var e exit
	if errors.As(err, &e) {
		return e.code
	}
	var o outcome
	if !errors.As(err, &o) {
		err = misused(cmd, err)
	}
	code := exitOf(ctx, err)
	var n notStarted
	if code == exitError && errors.As(err, &n) {
		code = exitNotStarted
	}
	if code == exitInterrupted {
		a.note("interrupted: what was asked for stays as it is")
		return code
	}
	a.explainError(err)
	return code
}

// misused makes one line of what cobra says of a command line, and a hint of the
// commands that it suggests, if any.
func misused(cmd *cobra.Command, err error) usage {
	text, suggested, _ := strings.Cut(err.Error(), "\n")
	command := cmd.CommandPath()
	hint := command + " --help"
	if strings.HasPrefix(text, "accepts ") { // cobra counts arguments, and names none
		text = "too many or too few arguments: want " + strings.TrimSuffix(cmd.UseLine(), " [flags]")
	} else if strings.HasPrefix(text, "unknown command ") && !cmd.HasSubCommands() {
		text = command + " takes no arguments"
	}
	if _, names, found := strings.Cut(suggested, "?"); found {
		for _, name := range strings.Fields(names) {
			hint += ", or " + command + " " + name
		}
	}
	return usage{text, hint}
}

func exitOf(ctx context.Context, err error) int {
	var (
		u usage
		p *api.Problem
	)
	switch {
	case errors.Is(err, errInterrupted), ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &u):
		return exitUsage
	case errors.As(err, &p):
		return exitOfProblem(p)
	default:
		return exitError
	}
}

func exitOfProblem(p *api.Problem) int {
	if code := access.Code(p.Code); slices.Contains(access.Codes(), code) {
		return code.Info().Exit
	}
	if p.Status == http.StatusBadRequest || p.Status == http.StatusUnprocessableEntity {
		return exitUsage
	}
	return exitError
}

// explainError writes an error with everything that helps: what is allowed, and
// what to type next.
func (a *app) explainError(err error) {
	fmt.Fprintln(a.c.Stderr, "mayfly:", plain(err.Error()))
	var (
		p *api.Problem
		u usage
		h hinted
		x x509.UnknownAuthorityError
		n *net.OpError
		w *spiffe.Error
	)
	switch {
	case errors.As(err, &u):
		a.hint(u.hint)
	case errors.As(err, &h):
		a.hint(h.hint)
	case errors.As(err, &x) && !a.asWorkload():
		a.hint("--ca FILE, or export MAYFLY_CA=…, with the roots of the server's certificate")
	case errors.As(err, &w) && w.Reason == spiffe.ReasonNotThisWorkload:
		a.hint("check --server-id and MAYFLY_SERVER_ID")
	case errors.As(err, &w) && w.Reason == spiffe.ReasonNoURI:
		a.hint(workloadsDoor)
	case errors.As(err, &p) && p.Code == "no_session" && a.asWorkload():
		a.hint(workloadsDoor)
	case errors.As(err, &n) && n.Op == "dial":
		a.hint("check --server and MAYFLY_SERVER, and that mayflyd runs there")
	case errors.As(err, &p):
		if len(p.Allowed) > 0 {
			fmt.Fprintln(a.c.Stderr, "allowed:", plain(strings.Join(p.Allowed, ", ")))
		}
		a.hint(p.Next)
	}
}

// workloadsDoor is for a workload that came to the door for people.
const workloadsDoor = "check --server and MAYFLY_SERVER: with --svid they name mayflyd's door for workloads, not the one for people"

// hint says what to type next.
func (a *app) hint(text string) {
	if text != "" {
		fmt.Fprintln(a.c.Stderr, "hint:", plain(text))
	}
}

// note tells a person something that is no result.
func (a *app) note(format string, args ...any) {
	fmt.Fprintln(a.c.Stderr, plain(fmt.Sprintf(format, args...)))
}
