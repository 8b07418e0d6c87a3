package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

const there = reports + "/daily/2026?page=2"

func TestTheWholeWayWithoutAScript(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.alice(), w.bob()
	wants(t, alice.get("/ask?q=charge"), "stripe/refunds", "charge is the charge that you name", "Approved by payments-leads")
	form := alice.get("/ask?entitlement=stripe%2Frefunds&return=" + url.QueryEscape(there))
	f := fill(t, form, "/ask", map[string]string{"param.charge": "ch_17", "param.amount_max": "4200", "reason": "order 17", "do": "check"})
	if f.Get("duration") != "30m0s" || f.Get("return") != there {
		t.Fatalf("the form has %v", f)
	}
	checked := alice.post("/ask", f, http.StatusOK).Body.String()
	wants(t, checked, "Needs approval", "payments-leads", "charge is ch_17", "amount at most 4200 in the smallest unit of the currency", "order 17")
	before := w.state()
	f = fill(t, checked, "/ask", map[string]string{"reason": "order 17", "do": "ask"})
	to := alice.post("/ask", f, http.StatusSeeOther).Header().Get("Location")
	if !strings.HasPrefix(to, "/requests/req_") || w.state() == before {
		t.Fatalf("asked, and sent to %s", to)
	}
	mine := alice.get(to)
	wants(t, mine, "pending", "Once approved you are taken to reports.acme.example", "order 17")
	wantsNot(t, mine, "Your decision", `http-equiv="refresh" content="3`)

	path, _, _ := strings.Cut(to, "?")
	wants(t, bob.get("/"), "1 request waits for your approval", "order 17")
	shown := bob.get(path)
	wants(t, shown, "You may decide on this", "Alice <alice@acme.example>", "Approve for 30 min", "30 min from the approval", "order 17")
	verdict := fill(t, shown, path+"/decide", map[string]string{"verdict": "approve", "reason": "checked"})
	if got := bob.post(path+"/decide", verdict, http.StatusSeeOther).Header().Get("Location"); got != path {
		t.Fatalf("sent to %s", got)
	}
	wants(t, bob.get(path), "approved", "checked")

	done := alice.get(to)
	wants(t, done, "Access granted", "Continue to reports.acme.example", "Ends in", "checked")
	if !strings.Contains(done, `<meta http-equiv="refresh" content="3;url=`+there+`">`) || !strings.Contains(done, `href="`+there+`" data-continue`) {
		t.Errorf("does not go on by itself: %s", done)
	}
	// Without where to go, and for somebody else, there is nothing to go on to.
	wantsNot(t, alice.get(path), "Continue to", `http-equiv="refresh" content="3`)
	wantsNot(t, bob.get(to), "Continue to", `http-equiv="refresh" content="3`)
	wants(t, alice.get("/"), "stripe/refunds money on stripe Ends in")
}

func TestAFormCountsOnce(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	f := fill(t, alice.get("/ask?entitlement=reports%2Fread"), "/ask", map[string]string{"do": "ask"})
	first := alice.post("/ask", f, http.StatusSeeOther).Header().Get("Location")
	before := w.state()
	if again := alice.post("/ask", f, http.StatusSeeOther).Header().Get("Location"); again != first || w.state() != before {
		t.Errorf("sent twice: %s and %s", first, again)
	}
	f.Set("duration", "15m0s")
	res := alice.post("/ask", f, http.StatusConflict)
	wants(t, res.Body.String(), "This form was sent before")
	fresh := fill(t, res.Body.String(), "/ask", map[string]string{"do": "ask"})
	if fresh.Get("key") == f.Get("key") || fresh.Get("duration") != "15m0s" {
		t.Errorf("offered again: %v", fresh)
	}
	if other := alice.post("/ask", fresh, http.StatusSeeOther).Header().Get("Location"); other == first {
		t.Error("the new key makes no new request")
	}
	for _, key := range []string{"", "x", strings.Repeat("0", 31), strings.Repeat("0", 34)} {
		f.Set("key", key)
		if res := alice.do("POST", "/ask", f.Encode()); res.Code != http.StatusBadRequest {
			t.Errorf("key %q: %d", key, res.Code)
		}
	}
}

func TestThePreviewSaysWhatPolicyWill(t *testing.T) {
	w := newWorld(t)
	alice, erin := w.alice(), w.login("erin")
	for query, want := range map[string]string{
		"entitlement=reports%2Fread":                                        "Granted at once For 30 min, by rule",
		"entitlement=reports%2Fread&duration=2h":                            "Needs approval It would run for 2 h from the approval. One approval of data-leads (group at idp) or carol within 4 h 30 min would be granted at once",
		"entitlement=reports%2Fread&duration=9h":                            "Policy would deny this Duration 9h is over the cap: reports/read allows at most 8h. 8 h is the longest that can be asked for",
		"entitlement=reports%2Fread&param.folder=%2Fx":                      "The request cannot be understood",
		"entitlement=stripe%2Frefunds":                                      "Fill in what is required",
		"entitlement=stripe%2Frefunds&param.charge=ch_1&param.amount_max=1": "Needs approval It would run for 30 min from the approval. Write the reason, too.",
	} {
		wants(t, alice.get("/ask?"+query), want)
	}
	wants(t, erin.get("/ask?entitlement=reports%2Fread"), "Policy would deny this", "may not ask for reports/read")
	f := fill(t, alice.get("/ask?entitlement=reports%2Fread"), "/ask", map[string]string{"do": "check", "duration": "other", "other": "90 min"})
	page := alice.post("/ask", f, http.StatusOK).Body.String()
	wants(t, page, "It would run for 1 h 30 min from the approval")
	if got := fill(t, page, "/ask", nil); got.Get("duration") != "other" || got.Get("other") != "90 min" {
		t.Errorf("kept %v", got)
	}
	for _, other := range []string{"", "soon", "-5m", "0s"} {
		f.Set("other", other)
		if res := alice.do("POST", "/ask", f.Encode()); res.Code != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d", other, res.Code)
		}
	}
}

func TestWhatPolicyDeniesIsSaidOnThePage(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	f := fill(t, alice.get("/ask?entitlement=stripe%2Frefunds"), "/ask", map[string]string{"param.charge": "nonsense", "param.amount_max": "900000", "reason": "kept words", "do": "ask"})
	res := alice.post("/ask", f, http.StatusUnprocessableEntity)
	wants(t, res.Body.String(), "Not asked", "does not match", "over the cap", "kept words")
	if got := fill(t, res.Body.String(), "/ask", nil); got.Get("param.charge") != "nonsense" || got.Get("key") != f.Get("key") {
		t.Errorf("kept %v", got)
	}
	long := fill(t, alice.get("/ask?entitlement=reports%2Fread&duration=9h"), "/ask", map[string]string{"do": "ask"})
	to := alice.post("/ask", long, http.StatusSeeOther).Header().Get("Location")
	wants(t, alice.get(to), "denied", "Duration 9h is over the cap", "Code max_duration", "Ask again")
	wants(t, alice.get("/explain/"+strings.TrimPrefix(to, "/requests/")), "Duration 9h is over the cap", "entitlements/reports/read.yaml:", "the decision is the same", "What would have made a difference", "team-data")
	for range 5 {
		alice.asks(refund())
	}
	f = fill(t, alice.get("/ask?entitlement=stripe%2Frefunds"), "/ask", map[string]string{"param.charge": "ch_1", "param.amount_max": "1", "reason": "x", "do": "ask"})
	wants(t, alice.post("/ask", f, http.StatusTooManyRequests).Body.String(), "the limit is 5")
}

func TestAskingFromARefusal(t *testing.T) {
	w := newWorld(t)
	s, alice, bob := w.spool(), w.alice(), w.login("bob", "engineers")
	id := s.deny(alice.session.Principal, "stripe", "refunds.create", map[string]audit.Attr{"charge": {Value: "ch_99"}, "amount": {Value: "1234"}})
	page := alice.get("/ask?denial=" + id + "&return=" + url.QueryEscape(there))
	wants(t, page, "You were refused refunds.create on stripe", "No access has been granted", "smallest entitlement")
	if f := fill(t, page, "/ask", nil); f.Get("param.charge") != "ch_99" || f.Get("param.amount_max") != "1234" || f.Get("entitlement") != "stripe/refunds" || f.Get("return") != there {
		t.Errorf("filled in %v", f)
	}
	// Another's refusal is answered like none.
	for _, denial := range []string{id, "den_01JZZZZZZZZZZZZZZZZZZZZZZZ"} {
		page := bob.get("/ask?denial=" + denial)
		wants(t, page, "Nothing found for this refusal")
		wantsNot(t, page, "ch_99")
	}
	wants(t, bob.get("/ask?denial=%3Cscript%3E"), "That is no refusal")
}

func TestOnlyPagesOfAppsForPeopleAreGoneOnTo(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	r := alice.granted()
	for name, c := range map[string]struct {
		to   string
		want bool
	}{
		"a page":               {there, true},
		"the first page":       {reports, true},
		"another case":         {"https://Reports.ACME.example:9443/x", true},
		"another port":         {"https://reports.acme.example/x", false},
		"plain http":           {"http://reports.acme.example:9443/x", false},
		"an app for services":  {"https://stripe.acme.example:9443/x", false},
		"another host":         {"https://evil.example:9443/", false},
		"a host below":         {"https://x.reports.acme.example:9443/", false},
		"an account":           {"https://reports.acme.example:9443@evil.example:9443/", false},
		"an account of ours":   {"https://a@reports.acme.example:9443/", false},
		"a script":             {"javascript:alert(1)", false},
		"a path":               {"/ask", false},
		"no scheme":            {"//reports.acme.example:9443/", false},
		"a backslash":          {`https://evil.example\@reports.acme.example:9443/`, false},
		"a line":               {"https://reports.acme.example:9443/\nx", false},
		"opaque":               {"https:reports.acme.example:9443", false},
		"too long":             {reports + "/" + strings.Repeat("x", 3000), false},
		"a dot at the end":     {"https://reports.acme.example.:9443/", false},
		"an empty port":        {"https://reports.acme.example:/", false},
		"ends a quoted value":  {reports + `/"><script>alert(1)</script>`, true},
		"ends a refresh's url": {reports + `/;url=https://evil.example`, true},
	} {
		page := alice.get("/requests/" + r.ID.String() + "?return=" + url.QueryEscape(c.to))
		if got := strings.Contains(page, "data-continue"); got != c.want {
			t.Errorf("%s: continues %v", name, got)
		}
		wantsNot(t, page, "<script>alert", `href="javascript`, `content="3;url=https://evil`)
		form := alice.get("/ask?entitlement=reports%2Fread&return=" + url.QueryEscape(c.to))
		if got := fill(t, form, "/ask", nil).Get("return") != ""; got != c.want {
			t.Errorf("%s: the form keeps it: %v", name, got)
		}
		f := fill(t, form, "/ask", map[string]string{"do": "ask", "return": c.to})
		if got := strings.Contains(alice.post("/ask", f, http.StatusSeeOther).Header().Get("Location"), "?return="); got != c.want {
			t.Errorf("%s: the answer keeps it: %v", name, got)
		}
	}
	// An access that is over leads nowhere.
	alice.post("/grants/"+r.Grant.String()+"/finish", url.Values{}, http.StatusSeeOther)
	wantsNot(t, alice.get("/requests/"+r.ID.String()+"?return="+url.QueryEscape(there)), "data-continue")
}

func TestEveryKindOfParameterHasItsField(t *testing.T) {
	w := newWorld(t)
	w.apply("2", map[string]string{
		"params:\n  folder: {type: path, any: true, pattern: \"/(daily|monthly)(/.*)?\"}": "params:\n  folder: {type: path, any: true, values: [/daily, /monthly]}",
	})
	page := w.alice().get("/ask?entitlement=reports%2Fread&param.folder=%2Fmonthly")
	for _, want := range []string{`<select id="param-folder"`, `<option value="">any</option>`, `<option>/daily</option>`, `<option selected>/monthly</option>`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	page = w.alice().get("/ask?entitlement=stripe%2Frefunds")
	wants(t, page, "an amount in the smallest unit of the currency, such as cents, at least 1, at most 50000", "of the form ch_[A-Za-z0-9_]+", "(required)")
}

func TestManyOperationsAreFoldedUp(t *testing.T) {
	w := newWorld(t)
	w.apply("2", map[string]string{"operations: [charges.retrieve], where: {charge: {is: $charge}}": "operations: [\"@read\"]"})
	alice := w.alice()
	r := alice.asks(refund())
	if r.State != access.Pending {
		t.Fatal(r.Sentence)
	}
	page := w.bob().get("/requests/" + r.ID.String())
	wants(t, page, "operations: show all", "customers.list")
}

func TestWaitingIsListed(t *testing.T) {
	w := newWorld(t)
	bob := w.bob()
	wants(t, bob.get("/waiting"), "Nothing waits for your approval")
	for i := range 3 {
		a := refund()
		a.Reason = fmt.Sprintf("reason %d", i)
		w.alice().asks(a)
		w.pass(time.Second)
	}
	wants(t, bob.get("/waiting"), "reason 0", "reason 1", "reason 2", "Alice <alice@acme.example>")
	wantsNot(t, w.alice().get("/waiting"), "reason 0")
}
