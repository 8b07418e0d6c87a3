package grant

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTheReasonsAreThoseOfTheContract lists contracts §4: codes are never reused,
// so one that goes or is renamed breaks clients.
func TestTheReasonsAreThoseOfTheContract(t *testing.T) {
	want := strings.Fields(`no_identity bad_certificate bad_token token_not_bound wrong_audience session_ended login_again
		unknown_app unknown_operation ambiguous_operation malformed body_too_large conflicting_headers no_grant not_yet ended revoked
		scope constraint unresolved budget locked stale clock record_unavailable credential_unavailable unsupported_grant grant_unproven
		policy_changed rate_limited timeout upstream_unavailable overloaded internal
		cross_site idle incomplete`)
	slices.Sort(want)
	var got []string
	for _, r := range Reasons() {
		got = append(got, string(r))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v, the contract\n%v", got, want)
	}
}

// TestEveryReasonConstantIsInTheTable reads the source, so that a constant that
// nobody put into the table is found.
func TestEveryReasonConstantIsInTheTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || fmt.Sprint(spec.Type) != "Reason" {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || !Reason(code).Known() {
			t.Errorf("%s is not in the table (%v)", spec.Names[0], err)
		}
		n++
		return true
	})
	if n != len(Reasons()) {
		t.Errorf("%d constants and %d rows", n, len(Reasons()))
	}
}

func TestTheTableIsFitToShow(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	titles := map[string]Reason{}
	for _, r := range Reasons() {
		i := r.Info()
		if !code.MatchString(string(r)) || i.Title == "" || strings.HasSuffix(i.Title, ".") {
			t.Errorf("%s: title %q", r, i.Title)
		}
		if other, ok := titles[i.Title]; ok {
			t.Errorf("%s and %s have the same title", r, other)
		}
		titles[i.Title] = r
		if i.HTTP < 400 || i.HTTP > 599 || i.GRPC == 0 || i.GRPC > 16 {
			t.Errorf("%s: status %d, gRPC code %d", r, i.HTTP, i.GRPC)
		}
		if !slices.Contains([]string{"invalid_request_error", "api_error", "rate_limit_error"}, i.Stripe) {
			t.Errorf("%s: Stripe has no error type %q", r, i.Stripe)
		}
		if i.Retryable && i.HTTP != 429 && i.HTTP < 500 {
			t.Errorf("%s: a client that tries a %d again gets nowhere", r, i.HTTP)
		}
	}
}

func TestWhatIsNotKnownIsInternal(t *testing.T) {
	for _, r := range []Reason{"", "no_such_reason", "Ended", "ended "} {
		if r.Known() || r.Info() != Internal.Info() || r.Info().HTTP != 500 {
			t.Errorf("%q is %+v", r, r.Info())
		}
	}
	d := Of(errors.New("a driver's text with a password"))
	if d.Reason != Internal || strings.Contains(d.Error(), "password") || errors.Unwrap(d) == nil {
		t.Errorf("an error that is no denial is shown as %q", d)
	}
	if Of(nil) != nil || ReasonOf(nil) != "" {
		t.Error("no error is a denial")
	}
	var none *Denial
	if got := Of(fmt.Errorf("wrapped %w", error(none))); got == nil || got.Reason != Internal {
		t.Errorf("a nil denial in an error is %v", got)
	}
}

func TestADenialKeepsItsCauseToItself(t *testing.T) {
	cause := errors.New("dial 10.0.0.1: refused")
	plain := Deny(UpstreamUnavailable, "%s cannot be reached", "stripe")
	d := plain.Because(cause)
	if d.Error() != "upstream_unavailable: stripe cannot be reached" || !errors.Is(d, cause) || errors.Unwrap(plain) != nil {
		t.Errorf("%v, cause %v", d, errors.Unwrap(d))
	}
	if got := Of(fmt.Errorf("asking: %w", d)); got != d || ReasonOf(got) != UpstreamUnavailable {
		t.Errorf("a wrapped denial is %v", got)
	}
}
