package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/grant"
)

// calling is what call was called with.
type calling struct {
	method  string
	headers []string
	data    string
	include bool
	to      destination
}

// reasonHeader is where a gateway names the reason of a refusal.
const reasonHeader = "Mayfly-Reason"

func (a *app) callCommand() *cobra.Command {
	var in calling
	cmd := &cobra.Command{
		Use: "call APP PATH", Short: "Send one request to an app that you have access to",
		Long: `Sends one request to an app through a gateway's door for clients, under your own live
grant on it, and prints what the app answers. The request carries a token that lives
minutes and is bound to the key of your login: its text is worth nothing to others.

Exit codes: 0 answered below 400, 1 answered with an error by the app or not at all,
4 refused by the gateway or no access, 5 refused because the access has ended.`,
		Example: `  mayfly call reports /daily/today
  mayfly call -X POST -H 'Content-Type: application/json' -d '{"a":1}' wiki /api/pages
  mayfly call -X DELETE --entitlement wiki/write wiki /api/pages/7
  mayfly call -d @page.json --gateway gateway.acme.example:9443 wiki /api/pages`,
		Args: cobra.ExactArgs(2),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			in.to.app = args[0]
			return a.call(cmd.Context(), in, args[1])
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&in.method, "request", "X", "", "method; left out: GET, with --data POST")
	f.StringArrayVarP(&in.headers, "header", "H", nil, "'Name: value'; again for each one")
	f.StringVarP(&in.data, "data", "d", "", "body, or @file, or @- for standard input")
	f.BoolVarP(&in.include, "include", "i", false, "print status and headers too")
	in.to.flags(f)
	return cmd
}

func (a *app) call(ctx context.Context, in calling, path string) error {
	r, err := a.callRequest(ctx, in, path)
	if err != nil {
		return err
	}
	if a.c.Door == nil {
		return errors.New("this mayfly cannot reach gateways")
	}
	way, grants, err := a.toApp(ctx, in.to)
	if err != nil {
		return err
	}
	door, err := a.c.Door(way)
	if err != nil {
		return err
	}
	r.URL.Host, r.Host = way.Host, way.Host
	res, err := door.RoundTrip(r)
	if err != nil {
		return a.refusedCall(err)
	}
	defer res.Body.Close()
	if in.include {
		fmt.Fprintf(a.c.Stdout, "%s %s\n", res.Proto, res.Status)
		_ = res.Header.Write(a.c.Stdout)
		fmt.Fprintln(a.c.Stdout)
	}
	if _, err := io.Copy(a.c.Stdout, res.Body); err != nil {
		return fmt.Errorf("the answer ended early: %w", err)
	}
	switch reason := grant.Reason(res.Header.Get(reasonHeader)); {
	case reason == grant.Ended || reason == grant.Revoked || reason == grant.PolicyChanged:
		return exit{exitEnded}
	case reason == grant.OutOfScope || reason == grant.ConstraintUnmet:
		a.hintOther(a.command+" "+in.to.app, grants)
		return exit{exitDenied}
	case reason != "":
		return exit{exitDenied}
	case res.StatusCode >= http.StatusBadRequest:
		return exit{exitError}
	}
	return nil
}

// refusedCall says why nothing was answered.
func (a *app) refusedCall(err error) error {
	var d *grant.Denial
	if !errors.As(err, &d) {
		return hinted{fmt.Errorf("the gateway did not answer: %w", err), "check --gateway; mayfly nodes shows which run"}
	}
	switch d.Reason {
	case grant.UpstreamUnavailable: // nobody refused anything
		return hinted{errors.New(d.Sentence), "check --gateway; mayfly nodes shows which run"}
	case grant.Ended:
		a.note("mayfly: %s", d.Sentence)
		return exit{exitEnded}
	default:
		a.note("mayfly: %s", d.Sentence)
		return exit{exitDenied}
	}
}

func (a *app) callRequest(ctx context.Context, in calling, path string) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, usage{fmt.Sprintf("%q is not a path", path), "mayfly call reports /daily/today"}
	}
	body, err := a.callBody(in.data)
	if err != nil {
		return nil, err
	}
	method := in.method
	switch {
	case method == "" && body != nil:
		method = http.MethodPost
	case method == "":
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://app"+path, body)
	if err != nil {
		return nil, usage{err.Error(), "mayfly call --help"}
	}
	r.Header.Set("User-Agent", "mayfly/"+a.c.Version)
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range in.headers {
		name, value, ok := strings.Cut(h, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "DPoP") || strings.EqualFold(name, "Host") {
			return nil, usage{fmt.Sprintf("-H %q is not 'Name: value', or is mayfly's own to set", h), "mayfly call -H 'Accept: text/csv' reports /daily/today"}
		}
		r.Header.Set(name, strings.TrimSpace(value))
	}
	return r, nil
}

// callBody reads what --data names; nil is none.
func (a *app) callBody(data string) (io.Reader, error) {
	name, ok := strings.CutPrefix(data, "@")
	switch {
	case data == "":
		return nil, nil
	case !ok:
		return strings.NewReader(data), nil
	case name == "-":
		return a.c.Stdin, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return strings.NewReader(string(b)), nil
}
