package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// excusedPolicy is the example policy with a wildcard that an exception excuses
// until the beginning of 31 January 2031.
func excusedPolicy(t testing.TB, more ...change) *Set {
	t.Helper()
	changes := append([]change{{reports, "[http.get, http.head]", "[\"http.*\"]"}, exceptionTo("2027-01-31", "2031-01-31")}, more...)
	s, err := Load(edited(t, changes...), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func end() time.Time { return time.Date(2031, 1, 31, 0, 0, 0, 0, time.UTC) }

func TestExceptionIsAsItIsWritten(t *testing.T) {
	s := excusedPolicy(t)
	x, ok := s.Exception(ExcuseWildcard, "reports/read")
	if !ok || x.Name != "wide-reports" || x.Owner != "team-data" || x.Allows != ExcuseWildcard || x.Entitlement != "reports/read" || x.App != "" ||
		x.Reason != "The new client is not classified yet." || !x.Until.Equal(end()) || x.File != "exceptions/wide-reports.yaml" || x.Line != 1 {
		t.Errorf("read as %+v", x)
	}
	if all := s.Exceptions(); len(all) != 1 || all[0] != x {
		t.Errorf("all are %+v", all)
	}
	if _, ok := s.Exception(ExcuseUndercut, "reports/read"); ok {
		t.Error("it excuses what it does not name")
	}
	if _, ok := s.Exception(ExcuseWildcard, "stripe/refunds"); ok {
		t.Error("it excuses another entitlement")
	}
}

// Load looks at no clock: a policy of years ago loads as it did.
func TestExceptionThatIsOverStillLoads(t *testing.T) {
	s := excusedPolicy(t, exceptionTo("2027-01-31", "2001-01-31T12:00:00+02:00"))
	x, _ := s.Exception(ExcuseWildcard, "reports/read")
	if !x.Until.Equal(time.Date(2001, 1, 31, 10, 0, 0, 0, time.UTC)) || x.Until.Location() != time.UTC {
		t.Errorf("until %s", x.Until)
	}
}

func readReports(t testing.TB, now time.Time) Input {
	bob := principal(t, "user:idp:bob")
	return Input{Entitlement: "reports/read", Beneficiary: bob, Now: now, Requester: Requester{Principal: bob, Groups: groups(t, "idp/engineers"), GroupsAt: now}}
}

// From its end on, what an exception excused is denied, whoever asks and however it
// would be approved, and a decision of before is still the same when made again.
func TestExceptionIsOverAtItsEnd(t *testing.T) {
	s := excusedPolicy(t)
	before := s.Decide(readReports(t, end().Add(-time.Microsecond)))
	if before.Outcome != Granted {
		t.Fatalf("before the end: %s: %s", before.Outcome, before.Sentence)
	}
	d := s.Decide(readReports(t, end()))
	if d.Outcome != Denied || d.Code != DenyExceptionOver || !strings.Contains(d.Sentence, "wide-reports") || !strings.Contains(d.Sentence, "2031-01-31T00:00:00Z") {
		t.Errorf("at the end: %s %s: %s", d.Outcome, d.Code, d.Sentence)
	}
	if r := d.Reasons[len(d.Reasons)-1]; r.File != "exceptions/wide-reports.yaml" || r.Line != 1 {
		t.Errorf("the reason is from %s:%d", r.File, r.Line)
	}
	if again, err := s.Replay(before.Inputs); err != nil || again.Outcome != Granted {
		t.Errorf("the decision of before, made again: %s %v", again.Outcome, err)
	}
	if other := s.Decide(func() Input {
		in := ask(t)
		in.Now, in.Requester.GroupsAt = end(), end()
		return in
	}()); other.Outcome != NeedsApproval {
		t.Errorf("an entitlement that needs no exception: %s %s", other.Outcome, other.Sentence)
	}
}

// A commit whose exceptions are over does not enter into force.
func TestExceptionThatIsOverKeepsACommitOut(t *testing.T) {
	s := excusedPolicy(t)
	if err := s.CheckAt(end().Add(-time.Second), nil); err != nil || len(s.Overdue(end().Add(-time.Second))) != 0 {
		t.Errorf("a second before its end: %v", err)
	}
	err := s.CheckAt(end(), nil)
	var all Errors
	if !errors.As(err, &all) || len(all) != 1 || all[0].Code != CodeException {
		t.Fatalf("at its end: %v", err)
	}
	want := "exceptions/wide-reports.yaml:5:8: until: the exception wide-reports was over at 2031-01-31T00:00:00Z, and what it excused is denied: give it a new end with a reason, or remove both"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := s.CheckAt(end(), s); err != nil {
		t.Errorf("after a policy that has just that exception: %v", err)
	}
	for field, change := range map[string]func(*Exception){
		"end": func(x *Exception) { x.Until = x.Until.Add(-time.Second) }, "owner": func(x *Exception) { x.Owner = "team-web" },
		"reason": func(x *Exception) { x.Reason = "another" }, "excuse": func(x *Exception) { x.Allows = ExcuseUndercut },
		"name": func(x *Exception) { x.Name = "narrow-reports" },
	} {
		was := Set{exceptions: map[string]Exception{}}
		for _, x := range s.Exceptions() {
			change(&x)
			was.exceptions[x.Name] = x
		}
		if err := s.CheckAt(end(), &was); err == nil {
			t.Errorf("after a policy whose exception has another %s it enters into force", field)
		}
	}
	if over := s.Overdue(end()); len(over) != 1 || over[0].Name != "wide-reports" {
		t.Errorf("over are %+v", over)
	}
}

// What entered into force before Mayfly asked for an exception goes on.
func TestPolicyInForceIsNotRefusedLater(t *testing.T) {
	files := edited(t, change{reports, "[http.get, http.head]", "[\"http.*\"]"})
	if _, err := Load(files, options(t)); err == nil {
		t.Fatal("a wildcard without an exception loads as if new")
	}
	o := options(t)
	o.InForce = true
	s, err := Load(files, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Decide(readReports(t, noon())); d.Outcome != Granted {
		t.Errorf("in force, and %s: %s", d.Outcome, d.Sentence)
	}
	files[reports] = []byte(strings.Replace(string(files[reports]), "owner: team-data", "", 1))
	if _, err := Load(files, o); err == nil {
		t.Error("a policy without an owner is in force")
	}
}

// A mistake in what an exception is for hides what needs the exception: it is not
// called useless then.
func TestExceptionIsNotCalledUselessForAnotherMistake(t *testing.T) {
	_, err := Load(edited(t, change{reports, "[http.get, http.head]", "[\"htp.*\"]"}, exceptionTo("", "")), options(t))
	var all Errors
	if !errors.As(err, &all) || len(all) != 1 || all[0].Code != CodeUnknownName {
		t.Errorf("got %v", err)
	}
}

func TestTwoExceptionsForOneThingAreRefused(t *testing.T) {
	_, err := Load(edited(t, change{reports, "[http.get, http.head]", "[\"http.*\"]"}, exceptionTo("", ""),
		change{"exceptions/wider.yaml", "", strings.Replace(wide, "wide-reports", "wider", 1)}), options(t))
	var all Errors
	if !errors.As(err, &all) || len(all) != 1 || all[0].Code != CodeDuplicate {
		t.Errorf("got %v", err)
	}
}

func TestWildcardsThatOnlyReadNeedNoException(t *testing.T) {
	for _, text := range []string{"[\"@read\"]", "[\"charges.*\"]"} {
		if _, err := Load(edited(t, change{refunds, "[charges.retrieve], where: {charge: {is: $charge}}}", text + "}"}), options(t)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBarsIsAboutWhoAsks(t *testing.T) {
	for _, code := range denyCodes() {
		want := code == DenyNotEligible || code == DenyLoginAgain || code == DenyBeneficiary || code == DenyExceptionOver
		if Bars(code) != want {
			t.Errorf("%s bars: %v", code, !want)
		}
	}
	s := excusedPolicy(t)
	in := readReports(t, end())
	in.Requester.Principal = identity.Principal{}
	if d := s.Decide(in); d.Code != DenyNotEligible {
		t.Errorf("nobody, of what is over: %s", d.Code)
	}
}
