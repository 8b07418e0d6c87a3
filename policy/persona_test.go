package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const analyst = `persona: analyst
owner: team-data
entitlements: [reports/read, stripe/refunds]
who: [group:idp/engineers, carol]
`

func TestPersonaIsAsItIsWritten(t *testing.T) {
	s, err := Load(edited(t, change{"personas/analyst.yaml", "", analyst}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	all := s.Personas()
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	p := all[0]
	if p.Name != "analyst" || p.Owner != "team-data" || strings.Join(p.Entitlements, " ") != "reports/read stripe/refunds" || fmt.Sprint(p.Who) != "[group:idp/engineers carol]" || p.File != "personas/analyst.yaml" || p.Line != 1 {
		t.Errorf("read as %+v", p)
	}
}

// A persona gives nothing: everybody is decided about as without it.
func TestPersonaGivesNothing(t *testing.T) {
	s, err := Load(edited(t, change{"personas/analyst.yaml", "", strings.Replace(analyst, "carol", "bob", 1)}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	in := ask(t)
	in.Requester.Principal, in.Beneficiary = principal(t, "user:idp:bob"), principal(t, "user:idp:bob")
	in.Requester.Groups = nil
	if d := s.Decide(in); d.Outcome != Denied || d.Code != DenyNotEligible {
		t.Errorf("in a persona, and so %s", d.Outcome)
	}
	if c := Compare(example(t), s); c.Widens() || len(c.Changes) != 1 || c.Changes[0].Effect != Differs || c.Changes[0].What != "persona analyst" {
		t.Errorf("%+v", c)
	}
}

func TestPersonaIsCompared(t *testing.T) {
	load := func(text string) *Set {
		files := exampleFiles(t)
		if text != "" {
			files["personas/analyst.yaml"] = []byte(text)
		}
		s, err := Load(files, options(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := load(analyst)
	for _, edit := range [][2]string{{"team-data", "team-web"}, {"reports/read, ", ""}, {", carol", ""}, {analyst, ""}} {
		now := load(strings.Replace(analyst, edit[0], edit[1], 1))
		if c := Compare(was, now); c.Widens() || len(c.Changes) != 1 {
			t.Errorf("%s to %q: %+v", edit[0], edit[1], c)
		}
	}
	if c := Compare(was, load(analyst)); len(c.Changes) != 0 {
		t.Errorf("the same: %+v", c)
	}
}

func TestWarnings(t *testing.T) {
	now := time.Date(2031, 1, 20, 0, 0, 0, 0, time.UTC)
	var personas []change
	for i := range maxPersonas + 1 {
		name := fmt.Sprintf("job-%d", i)
		personas = append(personas, change{"personas/" + name + ".yaml", "", "persona: " + name + "\nowner: team-data\nentitlements: [reports/read]\nwho: [carol]\n"})
	}
	for _, c := range []struct {
		name  string
		edits []change
		want  string // "" for none
	}{
		{"the example", nil, ""},
		{"as many personas as may be", personas[:maxPersonas], ""},
		{"one persona more", personas, "entitlements/reports/read.yaml:2:1: reports/read is in 6 personas (job-0, job-1, job-2, job-3, job-4, job-5): what more than 5 jobs need is rarely one task"},
		{"less sensitive than its operations", []change{{refunds, "sensitivity: money", "sensitivity: read"}}, "entitlements/stripe/refunds.yaml:11:1: sensitivity: read, and refunds.create is money: the stricter counts"},
		{"more sensitive than its operations", []change{{reports, "sensitivity: read", "sensitivity: secret"}, {web, "stale_after: 1m", "stale_after: 15s"}}, ""},
		{"idle longer than it lasts", []change{{refunds, "idle_after: 15m", "idle_after: 2h"}}, "entitlements/stripe/refunds.yaml:12:1: grant.idle_after: 2h never ends a grant before grant.max, which is 2h"},
		{"a group in two spellings", []change{{refunds, "group:idp/payments-leads", "group:idp/Support"}}, "entitlements/stripe/refunds.yaml:19:1: group:idp/Support and group:idp/support differ by capitals only"},
		{"without tests", []change{{reports, reports1(t), ""}}, "entitlements/reports/read.yaml:2:1: reports/read has no tests: nothing says what it is for, and mayfly policy test proves nothing of it"},
		{"a cap lowered to what the condition compares with", []change{{reports, "max: 8h", "max: 30m"}, {reports, reports1(t), "tests: [{as: bob, groups: [idp/engineers], ask: {}, expect: granted}]\n"}}, "entitlements/reports/read.yaml:16:1: when: with the caps of now it is always true (request.duration is from 1s to 30m), and every request is granted at once: say \"true\" if that is meant, or compare with less"},
		{"an amount capped below what the condition compares with", []change{{refunds, "  steps:", "  auto: {when: \"request.params.amount_max <= 60000\"}\n  steps:"}}, "entitlements/stripe/refunds.yaml:18:1: when: with the caps of now it is always true (request.params.amount_max is from 1 to 50000), and every request is granted at once: say \"true\" if that is meant, or compare with less"},
		{"a cap that leaves the condition a choice", []change{{reports, "max: 8h", "max: 31m"}}, ""},
		{"an exception that is over soon", []change{{reports, "[http.get, http.head]", "[\"http.*\"]"}, {reports, "sensitivity: read", "sensitivity: write"}, exceptionTo("2027-01-31", "2031-01-31")}, "exceptions/wide-reports.yaml:5:1: the exception wide-reports is over at 2031-01-31T00:00:00Z, and what it excuses is denied then"},
		{"an exception that is over later", []change{{reports, "[http.get, http.head]", "[\"http.*\"]"}, {reports, "sensitivity: read", "sensitivity: write"}, exceptionTo("2027-01-31", "2031-03-01")}, ""},
		{"an exception that is over", []change{{reports, "[http.get, http.head]", "[\"http.*\"]"}, {reports, "sensitivity: read", "sensitivity: write"}, exceptionTo("", "")}, "exceptions/wide-reports.yaml:5:1: the exception wide-reports was over at 2027-01-31T00:00:00Z, and what it excused is denied: give it a new end with a reason, or remove both; a commit that brings it does not enter into force"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(edited(t, c.edits...), options(t))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range s.Warnings(now) {
				got = append(got, w.String())
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// reports1 is the part of the example that holds its tests.
func reports1(t *testing.T) string {
	t.Helper()
	_, tests, ok := strings.Cut(string(exampleFiles(t)[reports]), "\ntests:\n")
	if !ok {
		t.Fatal("no tests")
	}
	return "tests:\n" + tests
}
