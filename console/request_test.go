package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

func TestAClickCountsOnce(t *testing.T) {
	w := newWorld(t)
	bob, carol := w.bob(), w.login("carol", "payments-leads")
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	verdict := fill(t, bob.get(path), path+"/decide", map[string]string{"verdict": "approve"})
	stale := fill(t, carol.get(path), path+"/decide", map[string]string{"verdict": "deny"})
	bob.post(path+"/decide", verdict, http.StatusSeeOther)
	before := w.state()
	wants(t, bob.post(path+"/decide", verdict, http.StatusConflict).Body.String(), "You have decided already", "Nothing was done twice", "approved")
	wants(t, carol.post(path+"/decide", stale, http.StatusConflict).Body.String(), "This request is not waiting any more", "approved")
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
}

func TestAClickOfTwoApprovalsCountsOnce(t *testing.T) {
	w := newWorld(t)
	w.apply("2", map[string]string{"{any: [group:idp/payments-leads], count: 1, within: 20m}": "{any: [group:idp/payments-leads], count: 2, within: 20m}"})
	bob := w.bob()
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	verdict := fill(t, bob.get(path), path+"/decide", map[string]string{"verdict": "approve"})
	bob.post(path+"/decide", verdict, http.StatusSeeOther)
	page := bob.get(path)
	wants(t, page, "2 approvals of payments-leads", "1 of 2 given", "or you have given yours")
	wantsNot(t, page, "Your decision")
	wants(t, bob.post(path+"/decide", verdict, http.StatusConflict).Body.String(), "You have decided already")
}

func TestAWordIsGivenOnWhatWasShown(t *testing.T) {
	w := newWorld(t)
	bob := w.bob()
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	before := w.state()
	for _, verdict := range []string{"approve", "deny"} {
		for _, digest := range []string{"", strings.Repeat("0", 64)} {
			res := bob.post(path+"/decide", url.Values{"verdict": {verdict}, "offer": {digest}, "reason": {"kept words"}}, http.StatusConflict)
			wants(t, res.Body.String(), "The offer has changed since you were shown it", "kept words", "Your decision")
		}
	}
	bob.post(path+"/decide", url.Values{"offer": {r.OfferDigest}}, http.StatusBadRequest)
	wants(t, bob.post(path+"/decide", url.Values{"verdict": {"approve"}, "offer": {r.OfferDigest}, "reason": {strings.Repeat("x", 2001)}}, http.StatusUnprocessableEntity).Body.String(), "Nothing was decided")
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
	bob.post(path+"/decide", url.Values{"verdict": {"deny"}, "offer": {r.OfferDigest}, "reason": {"ask the customer first"}}, http.StatusSeeOther)
	wants(t, w.alice().get(path), "denied", "An approver said no", "ask the customer first")
}

func TestP6_NobodyDecidesOnTheirOwn(t *testing.T) {
	w := newWorld(t)
	other := w.login("alice-admin", "payments-leads") // the same person, by policy
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	wantsNot(t, other.get(path), "Your decision")
	wants(t, other.post(path+"/decide", url.Values{"verdict": {"approve"}, "offer": {r.OfferDigest}}, http.StatusForbidden).Body.String(), "Nobody approves or denies their own access")
	wants(t, w.bob().get(path), "Your decision")
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	r := alice.asks(refund())
	path := "/requests/" + r.ID.String()
	f := fill(t, alice.get(path+"?return="+url.QueryEscape(there)), path+"/withdraw", nil)
	if to := alice.post(path+"/withdraw", f, http.StatusSeeOther).Header().Get("Location"); to != path+"?return="+url.QueryEscape(there) {
		t.Errorf("sent to %s", to)
	}
	wants(t, alice.get(path), "withdrawn")
	wants(t, alice.post(path+"/withdraw", f, http.StatusConflict).Body.String(), "There was nothing to withdraw")
}

func TestNobodyDecidedInTime(t *testing.T) {
	w := newWorld(t)
	r := w.alice().asks(refund())
	w.pass(21 * time.Minute)
	_, err := w.Expire(t.Context())
	check(t, err)
	wants(t, w.alice().get("/requests/"+r.ID.String()), "expired", "Nobody decided in time")
	wants(t, w.alice().get("/"), "expired")
}

func TestGrantPage(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	w.join()
	r := alice.granted()
	path := "/grants/" + r.Grant.String()
	page := alice.get(path)
	wants(t, page, "Ends in 2", "http.get", "Finish now", "Held by Alice")
	wantsNot(t, page, "Revoke now")
	w.pass(10 * time.Minute)
	page = w.alice().get(path)
	wants(t, page, "Ends in 19 min")
	if !strings.Contains(page, `<progress max="1800" value="600"`) {
		t.Error(page)
	}
	dave := w.dave()
	page = dave.get(path)
	wants(t, page, "Revoke now")
	wantsNot(t, page, "Finish now")
	i := w.join()
	f := fill(t, page, path+"/revoke", map[string]string{"reason": "left the team"})
	dave.post(path+"/revoke", f, http.StatusSeeOther)
	page = dave.get(path)
	wants(t, page, "revoked", "Because it was revoked", "Waiting for gateways to hear", i.String(), "waiting")
	if !strings.Contains(page, `data-every="2"`) {
		t.Error("does not follow the gateways")
	}
	w.pass(10 * time.Minute)
	wants(t, w.dave().get(path), "Every gateway has heard", "lease ran out")
	wants(t, w.dave().post(path+"/revoke", f, http.StatusConflict).Body.String(), "This access has ended already")
	wants(t, w.alice().post(path+"/finish", url.Values{}, http.StatusConflict).Body.String(), "This access has ended already")
	second := w.alice().granted()
	path = "/grants/" + second.Grant.String()
	w.alice().post(path+"/finish", url.Values{}, http.StatusSeeOther)
	wants(t, w.alice().get(path), "ended", "Because its holder finished it")
	third := w.alice().granted()
	w.pass(31 * time.Minute)
	wants(t, w.alice().get("/grants/"+third.Grant.String()), "Because its time was over")
	w.dave().post("/grants/"+third.Grant.String()+"/revoke", url.Values{"reason": {strings.Repeat("x", 2001)}}, http.StatusUnprocessableEntity)
}

func TestTraceIsAPictureAndATable(t *testing.T) {
	w := newWorld(t)
	s, alice := w.spool(), w.alice()
	r := alice.asks(refund())
	w.pass(2 * time.Minute)
	r, err := w.Approve(t.Context(), w.bob().caller(), r.ID, r.OfferDigest, "")
	check(t, err)
	var last string
	for _, result := range []audit.Result{audit.ResultSent, audit.ResultNotSent, audit.ResultUnknown, ""} {
		w.pass(time.Minute)
		last = s.act(r, "refunds.create", result)
	}
	w.pass(time.Minute)
	_, err = w.Revoke(t.Context(), w.dave().caller(), r.Grant, "")
	check(t, err)
	for _, id := range []string{r.ID.String(), r.Grant.String(), last, r.Offer.String()} {
		page := w.alice().get("/trace/" + id)
		wants(t, page, "Asked for stripe/refunds", "Offer made", "Policy: needs approval", "Approved", "Bob <bob@acme.example>", "Policy asked again: allows it", "Access begins", "Access revoked", "Dave <dave@acme.example>",
			"1 allowed, 1 stopped before the app, 2 outcome not known", "leaf ", "spl_")
		for mark, n := range map[string]int{
			`<svg class="mark asked"`: 1, `<svg class="mark decision"`: 2, `<svg class="mark approval"`: 1,
			`<svg class="tick allowed"`: 1, `<svg class="tick stopped"`: 1, `<svg class="tick unknown"`: 2, `<rect class="grant"`: 1, `<rect class="rest"`: 1, `<line class="end"`: 1,
		} {
			if got := strings.Count(page, mark); got != n {
				t.Errorf("%s: %d times %s, want %d", id, got, mark, n)
			}
		}
	}
	denial := s.deny(alice.session.Principal, "stripe", "refunds.create", nil)
	page := w.alice().get("/trace/" + denial)
	wants(t, page, "refunds.create", "denied", "no_grant", "1 denied")
	if strings.Contains(page, "<figure") {
		t.Error("one refusal alone has a picture, of nothing else")
	}
	if to := w.alice().do("GET", "/trace?id=+"+denial+"+", "").Header().Get("Location"); to != "/trace/"+denial {
		t.Errorf("the form leads to %q", to)
	}
}

func TestExplainSaysWhenAskedTwice(t *testing.T) {
	w := newWorld(t)
	r := w.alice().asks(refund())
	_, err := w.Approve(t.Context(), w.bob().caller(), r.ID, r.OfferDigest, "")
	check(t, err)
	wants(t, w.alice().get("/explain/"+r.ID.String()), "When it was asked: needs approval", "When it was approved, policy was asked again: still allows it", "may ask for stripe/refunds")
}

func TestAnOfferThatCannotBeShownIsNotDecidedOn(t *testing.T) {
	w := newWorld(t)
	r := w.alice().asks(refund())
	damaged := damagedOffers{w.db}
	s, err := access.New(access.Config{Store: damaged, Signer: signer(t), Minter: minter(), Policy: kinds(t)})
	check(t, err)
	w.pages = pagesOf(t, s)
	page := w.bob().get("/requests/" + r.ID.String())
	wants(t, page, "This offer cannot be decided on here")
	wantsNot(t, page, "Your decision")
}
