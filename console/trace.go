package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

// traceView is everything on record about one chain.
type traceView struct {
	ID, Request, Grant string
	Entitlement        string
	Holder             string
	Timeline           *timeline
	Entries            []entryView
	Truncated          bool
	TraceID            string // of the request, in the tracing that its operators run; empty: not exported
	Counts             []countView
}

// countView is how many actions came out one way.
type countView struct {
	Result, Word string
	N            int
}

// entryView is one record in words.
type entryView struct {
	Time   when
	Date   string // where the day changes
	Result string // of an action: allowed, denied, unknown; else ""
	What   string
	More   string
	Who    string
	Place  string
}

// findTrace is the form where an id is typed.
func (c *Console) findTrace(w http.ResponseWriter, r *http.Request, v *visit) error {
	if id := strings.TrimSpace(r.URL.Query().Get("id")); id != "" {
		return redirect(w, "/trace/"+url.PathEscape(clip(id)))
	}
	return c.render(w, r, http.StatusOK, "findtrace", page{Title: "Trace", Section: "trace", Who: v})
}

func (c *Console) trace(w http.ResponseWriter, r *http.Request, v *visit) error {
	t, err := c.service.Trace(r.Context(), v.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	view, now, err := c.viewTrace(t)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "trace", page{Title: "Trace of " + clip(t.ID), Section: "trace", Who: v, Now: now, Live: true, Body: view})
}

func (c *Console) viewTrace(t access.Trace) (traceView, time.Time, error) {
	out := traceView{ID: t.ID, Truncated: t.Truncated}
	now := c.c.Now()
	if t.Request != nil {
		out.Request, out.Entitlement, out.Holder, now = t.Request.ID.String(), t.Request.Entitlement, t.Request.Shown[t.Request.Beneficiary], t.Request.Now
	}
	out.TraceID = t.TraceIDs[out.Request]
	if t.Grant != nil {
		out.Grant, out.Holder = t.Grant.ID.String(), t.Grant.Shown
	}
	var records []told
	for _, one := range t.Records {
		body, err := one.Record.Texts()
		if err != nil {
			return out, now, fmt.Errorf("record %s: %w", one.Record.ID, err)
		}
		records = append(records, told{Traced: one, detail: body})
	}
	results := resultsOf(records)
	day := ""
	for _, one := range records {
		e := one.entry(results, t.Shown)
		if d := one.Record.Time.UTC().Format("2 January 2006"); d != day {
			e.Date, day = d, d
		}
		out.Entries = append(out.Entries, e)
	}
	out.Counts = countsOf(records, results)
	out.Timeline = timelineOf(t, records, results, now)
	return out, now, nil
}

// told is a record with its body as texts.
type told struct {
	access.Traced
	detail map[string]string
}

// The ways in which an action came out.
const (
	resultAllowed = "allowed"
	resultDenied  = "denied"
	resultNotSent = "stopped" // allowed, and ended before the app got it
	resultUnknown = "unknown"
	resultWatched = "observed" // passed undecided, whatever came of it
)

// resultsOf says how each action came out. One without an outcome on record is
// unknown: it may be under way.
func resultsOf(records []told) map[string]string {
	out := map[string]string{}
	for _, r := range records {
		action := r.detail["action"]
		switch r.Record.Type {
		case audit.TypeActionIntent:
			if out[action] == "" {
				out[action] = resultUnknown
			}
		case audit.TypeActionObserved:
			out[action] = resultWatched
		case audit.TypeActionDenied:
			out[action] = resultDenied
		case audit.TypeActionOutcome:
			if out[action] == resultWatched {
				continue
			}
			switch audit.Result(r.detail["result"]) {
			case audit.ResultSent:
				out[action] = resultAllowed
			case audit.ResultNotSent:
				out[action] = resultNotSent
			default:
				out[action] = resultUnknown
			}
		}
	}
	return out
}

func resultWord(result string) string {
	return map[string]string{
		resultAllowed: "allowed", resultDenied: "denied", resultNotSent: "stopped before the app", resultUnknown: "outcome not known",
		resultWatched: "OBSERVED, not enforced",
	}[result]
}

func countsOf(records []told, results map[string]string) []countView {
	n := map[string]int{}
	for _, r := range records {
		if r.isTry() {
			n[results[r.detail["action"]]]++
		}
	}
	var out []countView
	for _, result := range []string{resultAllowed, resultDenied, resultNotSent, resultUnknown, resultWatched} {
		if n[result] > 0 {
			out = append(out, countView{result, resultWord(result), n[result]})
		}
	}
	return out
}

// isTry reports whether the record is one try of an operation.
func (t told) isTry() bool {
	return t.Record.Type == audit.TypeActionIntent || t.Record.Type == audit.TypeActionObserved || t.Record.Type == audit.TypeActionDenied
}

// entry is the record in words.
func (t told) entry(results, shown map[string]string) entryView {
	d := t.detail
	e := entryView{Time: precise(t.Record.Time), Place: placeText(t.Place)}
	for _, key := range []string{"approver", "by", "principal", "requester"} { // who did it, best first
		if name := d[key]; name != "" && e.Who == "" {
			if e.Who = name; shown[name] != "" {
				e.Who = shown[name]
			}
		}
	}
	e.What, e.More = words(t.Record.Type, d)
	if t.isTry() {
		e.Result = results[d["action"]]
	}
	return e
}

// words says what a record tells: in a few words, and in a few more.
func words(t audit.Type, d map[string]string) (what, more string) {
	switch t {
	case audit.TypeRequestCreated:
		return "Asked for " + d["entitlement"], "for " + exact(d["duration_s"])
	case audit.TypeOfferMade:
		return "Offer made", "revision " + d["revision"] + ", sha256 " + head(d["digest"])
	case audit.TypeDecisionMade:
		what := map[string]string{"granted": "Policy: granted at once", "approval": "Policy: needs approval", "denied": "Policy: denied"}[d["outcome"]]
		if d["when"] == access.AtActivation {
			what = map[bool]string{true: "Policy asked again: denied", false: "Policy asked again: allows it"}[d["outcome"] == "denied"]
		}
		return what, list(d["code"], prefixed("commit ", head(d["commit"])), prefixed("policy ", head(d["policy"])))
	case audit.TypeApprovalGiven:
		return "Approved", "step " + d["step"] + ", on offer sha256 " + head(d["offer"])
	case audit.TypeRequestApproved:
		return "Request approved", "by " + d["how"]
	case audit.TypeRequestDenied:
		return "Request denied", list(d["code"], prefixed("by ", d["how"]))
	case audit.TypeRequestWithdrawn:
		return "Request withdrawn", ""
	case audit.TypeRequestExpired:
		return "Nobody decided in time", ""
	case audit.TypeGrantCreated:
		return "Access begins", "until " + clock(d["not_after"])
	case audit.TypeGrantRevoked:
		return "Access revoked", d["reason"]
	case audit.TypeGrantFinished:
		return "Access finished by its holder", ""
	case audit.TypeGrantIdle:
		return "Access ended", "nobody used it"
	case audit.TypeGrantEnded:
		return "Access ended", "its time was over"
	case audit.TypeGrantReceipts:
		return "Every gateway has heard of the end, or its lease ran out", ""
	case audit.TypeBundleBegan:
		return "All of the bundle is in force", ""
	case audit.TypeBundleUndone:
		return "Not all of the bundle was in force: all of it ends", list(d["missing.0.app"], d["missing.0.why"])
	case audit.TypeActionReserved:
		return "Acknowledged before the act", list(d["class"], prefixed("amount ", strings.TrimSpace(d["amount"]+" "+d["currency"])))
	case audit.TypeActionIntent:
		return d["operation"], list(attributes(d), d["action"], prefixed("trace ", d["trace"]))
	case audit.TypeActionObserved:
		would := "would have been allowed under " + d["grant"]
		if d["code"] != "" {
			would = "would have been denied: " + d["code"]
		}
		return d["operation"], list("OBSERVED, not enforced", would, attributes(d), d["action"], prefixed("trace ", d["trace"]))
	case audit.TypeActionRebound:
		return "The stream goes on under " + d["grant"], list("after the end of "+d["from"], d["action"])
	case audit.TypeActionDenied:
		return d["operation"], list(d["code"], attributes(d), d["denial"], prefixed("trace ", d["trace"]))
	case audit.TypeActionOutcome:
		return "Outcome: " + strings.ReplaceAll(d["result"], "_", " "), list(prefixed("status ", d["status"]), d["reason"], d["ended_by"], d["action"])
	default:
		return string(t), ""
	}
}

// clock shows a time of a record to the second.
func clock(stamp string) string {
	t, err := audit.ParseStamp(stamp)
	if err != nil {
		return stamp
	}
	return precise(t).Text
}

func prefixed(label, value string) string {
	if value == "" {
		return ""
	}
	return label + value
}

// list joins what there is.
func list(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), ", ")
}

// attributes lists the recorded values of an operation's attributes.
func attributes(d map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(d)) {
		name, ok := strings.CutPrefix(key, "attributes.")
		if name, isValue := strings.CutSuffix(name, ".value"); ok && isValue {
			out = append(out, name+" "+d[key])
		}
	}
	return strings.Join(out, ", ")
}

func placeText(p access.Place) string {
	if p.Spool == "" {
		return "leaf " + strconv.FormatUint(p.Seq, 10)
	}
	return p.Spool + ", record " + strconv.FormatUint(p.Seq, 10)
}
