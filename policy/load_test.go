package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// change is one edit of the example policy: a file's text, old replaced by new.
// An empty old replaces or adds the whole file.
type change struct{ file, old, new string }

const (
	refunds = "entitlements/stripe/refunds.yaml"
	reports = "entitlements/reports/read.yaml"
	stripe  = "apps/stripe.yaml"
	web     = "apps/reports.yaml"
)

func edited(t testing.TB, changes ...change) map[string][]byte {
	t.Helper()
	files := exampleFiles(t)
	for _, c := range changes {
		if c.old == "" {
			files[c.file] = []byte(c.new)
			continue
		}
		text := string(files[c.file])
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s has no %q", c.file, c.old)
		}
		files[c.file] = []byte(strings.Replace(text, c.old, c.new, 1))
	}
	return files
}

const wide = `exception: wide-reports
owner: team-data
allows: wildcard
entitlement: reports/read
until: 2027-01-31
reason: The new client is not classified yet.
`

// exceptionTo adds an exception, with an edit.
func exceptionTo(old, new string) change {
	return change{"exceptions/wide-reports.yaml", "", strings.Replace(wide, old, new, 1)}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	files := edited(t,
		change{refunds, "owner: team-payments", "owner: Team"}, change{refunds, "default: 30m", "default: 3h"},
		change{stripe, "streams: deadline", "streams: dead"}, change{mainFile, "grant: 12h", "grant: 48h"})
	_, err := Load(files, options(t))
	var all Errors
	if !errors.As(err, &all) || len(all) != 4 {
		t.Fatalf("want 4 errors, got %v", err)
	}
	for _, file := range []string{refunds, stripe, mainFile} {
		if !slices.ContainsFunc(all, func(e *Error) bool { return e.File == file && e.Line > 0 && e.Column > 0 }) {
			t.Errorf("no error with line and column of %s in\n%v", file, err)
		}
	}
}

func TestDevAcceptsPlainHTTPOnLoopbackOnly(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://[::1]:8080": true, "https://127.0.0.1": true,
		"http://localhost:8080": false, "http://10.0.0.1": false, "http://127.0.0.1:0": false, "ftp://127.0.0.1": false,
	} {
		o := options(t)
		o.Dev = true
		_, err := Load(edited(t, change{web, "https://reports.internal.acme.example", url}), o)
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, b := range exampleFiles(f) {
		f.Add(string(b))
	}
	for _, s := range []string{"", "---", "{a: [b:c]}", "entitlement: x\nallow: [{operations: [\"@read\"]}]", "a: &b [*b]", "? [", "approve: {auto: {when: \"true\"}}"} {
		f.Add(s)
	}
	o, good := options(f), exampleFiles(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{mainFile, stripe, refunds, reports} {
			files := map[string][]byte{}
			for k, v := range good {
				files[k] = v
			}
			files[name] = []byte(text)
			s, err := Load(files, o)
			if (s == nil) == (err == nil) {
				t.Fatalf("set %v, error %v", s != nil, err)
			}
			if s == nil {
				continue
			}
			for _, e := range s.Entitlements() {
				if e.Max <= 0 || e.Max > s.Caps().Grant || len(e.Who) == 0 || len(e.Operations()) == 0 {
					t.Errorf("entitlement %+v came into force", e)
				}
			}
			RunTests(s)
		}
	})
}
