package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mayflyproxy/mayfly/policy"
)

// policyChecked is what mayfly policy check says to a program.
type policyChecked struct {
	OK           bool             `json:"ok"` // no mistakes; warnings do not count
	Digest       string           `json:"digest,omitempty"`
	Apps         int              `json:"apps"`
	Entitlements int              `json:"entitlements"`
	Nodes        int              `json:"nodes"`
	Exceptions   int              `json:"exceptions"`
	Bundles      int              `json:"bundles"`
	Personas     int              `json:"personas"`
	Mistakes     []policyMistake  `json:"mistakes"` // by file, line and column
	Warnings     []policy.Warning `json:"warnings"` // by file and line
}

// policyMistake is one policy.Error.
type policyMistake struct {
	File    string      `json:"file"`
	Line    int         `json:"line"`   // from 1; 0: the whole file
	Column  int         `json:"column"` // from 1; 0: the whole file
	Code    policy.Code `json:"code"`
	Message string      `json:"message"`
}

// policyTested is what mayfly policy test says to a program.
type policyTested struct {
	OK       bool            `json:"ok"`
	Tests    int             `json:"tests"`
	Failed   int             `json:"failed"`
	Mistakes []policyMistake `json:"mistakes"` // if it is no policy; then no test ran
	Results  []policyResult  `json:"results"`
}

// policyResult is one policy.TestResult.
type policyResult struct {
	Entitlement string `json:"entitlement"`
	File        string `json:"file"`
	Line        int    `json:"line"`
	As          string `json:"as"`
	Want        string `json:"want"`
	Got         string `json:"got"`
	Passed      bool   `json:"passed"`
	Message     string `json:"message"`
}

// checkPolicy says what is wrong with a policy, and what is doubtful. What would keep
// it from entering into force today, whatever is in force, is wrong: an exception that is
// over does not if it was in force before, which only the server knows.
func (a *app) checkPolicy(dir string) error {
	now := a.c.Now()
	set, err := a.loadPolicy(dir)
	if err == nil {
		err = set.CheckAt(now, set)
	}
	wrong, err := mistakesOf(err)
	if err != nil {
		return err
	}
	out := policyChecked{OK: len(wrong) == 0, Mistakes: wrong, Warnings: []policy.Warning{}}
	if set != nil {
		out.Digest, out.Apps, out.Entitlements, out.Nodes = set.Digest(), len(set.Apps()), len(set.Entitlements()), len(set.Nodes())
		out.Bundles, out.Exceptions, out.Personas = len(set.Bundles()), len(set.Exceptions()), len(set.Personas())
		out.Warnings = append(out.Warnings, set.Warnings(now)...)
	}
	if a.isJSON() {
		return a.tellJSON(out, out.OK)
	}
	for _, w := range out.Warnings {
		fmt.Fprintln(a.c.Stdout, "warning:", plain(w.String()))
	}
	if !out.OK {
		return a.tellMistakes(dir, wrong)
	}
	parts := []string{count(out.Apps, "app"), count(out.Entitlements, "entitlement"), count(out.Nodes, "node")}
	if out.Exceptions > 0 {
		parts = append(parts, count(out.Exceptions, "exception"))
	}
	if out.Bundles > 0 {
		parts = append(parts, count(out.Bundles, "bundle"))
	}
	if out.Personas > 0 {
		parts = append(parts, count(out.Personas, "persona"))
	}
	fmt.Fprintf(a.c.Stdout, "%s is a policy: %s, digest %s\n", plain(dir), strings.Join(parts, ", "), out.Digest)
	return nil
}

// testPolicy runs the inline tests of a policy.
func (a *app) testPolicy(dir string) error {
	set, err := a.loadPolicy(dir)
	wrong, err := mistakesOf(err)
	if err != nil {
		return err
	}
	out := policyTested{Mistakes: wrong, Results: []policyResult{}}
	if len(wrong) == 0 {
		for _, r := range policy.RunTests(set) {
			out.Results = append(out.Results, policyResult(r))
			out.Tests++
			if !r.Passed {
				out.Failed++
			}
		}
	}
	out.OK = len(wrong) == 0 && out.Failed == 0
	switch {
	case a.isJSON():
		return a.tellJSON(out, out.OK)
	case len(wrong) > 0:
		return a.tellMistakes(dir, wrong)
	}
	for _, r := range out.Results {
		if !r.Passed {
			fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("%s:%d: %s as %s: expected %s, got %s: %s", r.File, r.Line, r.Entitlement, r.As, r.Want, r.Got, r.Message)))
		}
	}
	fmt.Fprintf(a.c.Stdout, "%d tests, %d failed\n", out.Tests, out.Failed)
	if !out.OK {
		return exit{exitError}
	}
	return nil
}

// mistakesOf returns the mistakes that err is, or err if it is something else.
func mistakesOf(err error) ([]policyMistake, error) {
	out := []policyMistake{}
	var wrong policy.Errors
	if !errors.As(err, &wrong) {
		return out, err
	}
	for _, e := range wrong {
		out = append(out, policyMistake{e.File, e.Line, e.Column, e.Code, e.Message})
	}
	return out, nil
}

// tellMistakes shows mistakes and ends the command.
func (a *app) tellMistakes(dir string, wrong []policyMistake) error {
	for _, m := range wrong {
		fmt.Fprintln(a.c.Stdout, plain((&policy.Error{File: m.File, Line: m.Line, Column: m.Column, Message: m.Message}).Error()))
	}
	a.note("%s is not a policy: %s", dir, count(len(wrong), "mistake"))
	return exit{exitError}
}

// tellJSON writes v, and ends the command with an error if all is not well.
func (a *app) tellJSON(v any, ok bool) error {
	if err := a.json(v); err != nil {
		return err
	}
	if !ok {
		return exit{exitError}
	}
	return nil
}
