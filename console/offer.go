package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/scope"
)

// offerView is an Offer as a page shows it: from its bytes only, with the digest
// that was made here from them.
type offerView struct {
	Digest      string
	Requester   party
	Beneficiary *party // nil: the requester
	Act         []party
	Entitlement string
	App         string
	Class       string
	Params      []pair
	Open        []string
	Operations  []operationView
	Members     []memberView // of a bundle: each of its entitlements, with its own operations
	Duration    string
	Idle        string // unused for so long, it ends; empty: it does not
	StartBy     when
	Reason      string
	Findings    []string
	Commit      string
	Policy      string // digest
	Catalogue   string
}

// memberView is what a bundle offers of one entitlement, whole.
type memberView struct {
	Entitlement string
	App         string
	Class       string
	Params      []pair
	Open        []string
	Operations  []operationView
	Catalogue   string
}

// ShortCatalogue is enough of the digest to see that it is another one.
func (m memberView) ShortCatalogue() string { return head(m.Catalogue) }

// Many reports whether the operations are folded up at first.
func (m memberView) Many() bool { return len(m.Operations) > fewOperations }

type pair struct{ Name, Value string }

// operationView is one operation with all that must hold.
type operationView struct {
	Name  string
	Where []string
}

// fewOperations is how many are shown without being asked for.
const fewOperations = 12

// Many reports whether the operations are folded up at first.
func (o offerView) Many() bool { return len(o.Operations) > fewOperations }

// errOffer says that an Offer cannot be shown whole, so that nobody decides on it here.
var errOffer = errors.New("the offer has parts that this version of Mayfly cannot show")

// readOffer reads the bytes of a request's Offer. It refuses what it could not
// show whole: another form or version, a part that it does not know.
func readOffer(v access.RequestView) (offerView, error) {
	var o access.Offer
	if err := json.Unmarshal(v.OfferBytes, &o); err != nil {
		return offerView{}, errOffer
	}
	// What was read must be all of it: no key more, twice, or in another case.
	again, digest, err := o.Encode()
	if err != nil || !bytes.Equal(again, v.OfferBytes) || digest != v.OfferDigest || o.V != 1 || o.Request != v.ID.String() {
		return offerView{}, errOffer
	}
	return viewOffer(o, digest, v.Now), nil
}

func viewOffer(o access.Offer, digest string, now time.Time) offerView {
	out := offerView{
		Digest: digest, Requester: named(o.Requester.Shown, o.Requester.Principal, o.Requester.Person),
		Entitlement: o.Entitlement, App: o.App, Class: o.Limits.Class, Open: o.Limits.Any, Duration: exact(o.Duration),
		StartBy: at(o.StartBy.Time, now), Reason: o.Reason, Findings: o.Findings, Commit: o.Policy.Commit, Policy: o.Policy.Digest, Catalogue: o.Catalogue,
	}
	if o.Limits.IdleAfter != "" {
		out.Idle = exact(o.Limits.IdleAfter)
	}
	if o.Beneficiary != o.Requester {
		p := named(o.Beneficiary.Shown, o.Beneficiary.Principal, o.Beneficiary.Person)
		out.Beneficiary = &p
	}
	for _, p := range o.Act {
		out.Act = append(out.Act, named(p.Shown, p.Principal, p.Person))
	}
	out.Params, out.Operations = pairsOf(o.Params), operationViews(o.Operations)
	for _, m := range o.Members {
		out.Members = append(out.Members, memberView{
			Entitlement: m.Entitlement, App: m.App, Class: m.Limits.Class, Params: pairsOf(m.Params), Open: m.Limits.Any,
			Operations: operationViews(m.Operations), Catalogue: m.Catalogue,
		})
	}
	return out
}

func pairsOf(params map[string]string) []pair {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(params)) {
		out = append(out, pair{name, params[name]})
	}
	return out
}

func operationViews(list []access.OfferOperation) []operationView {
	var out []operationView
	for _, op := range list {
		one := operationView{Name: op.Name}
		for _, c := range op.Where {
			one.Where = append(one.Where, whereText(c))
		}
		out = append(out, one)
	}
	return out
}

// whereText shows a constraint from its parts, and its words where they say
// something else.
func whereText(c access.OfferWhere) string {
	value := fmt.Sprint(c.Value)
	if list, ok := c.Value.([]any); ok {
		texts := make([]string, len(list))
		for i, v := range list {
			texts[i] = fmt.Sprint(v)
		}
		value = strings.Join(texts, ", ")
	}
	if list, ok := c.Value.([]string); ok { // of a preview, which was never JSON
		value = strings.Join(list, ", ")
	}
	bare := c.Attribute + " " + comparison(scope.Comparison(c.Op)) + " " + value
	out := bare
	switch {
	case c.Unit == scope.TypeMinorUnits.String():
		out += " " + minorUnits
	case c.Unit != "" && !strings.HasSuffix(value, c.Unit):
		out += " " + c.Unit
	}
	if c.Words != "" && c.Words != bare {
		out += " (" + c.Words + ")"
	}
	return out
}

const minorUnits = "in the smallest unit of the currency, such as cents"

// comparison says a comparison in words, and one that is not known as it is.
func comparison(c scope.Comparison) string {
	words := map[scope.Comparison]string{scope.Is: "is", scope.In: "is one of", scope.Max: "at most", scope.Min: "at least", scope.Under: "at or below"}
	if w, ok := words[c]; ok {
		return w
	}
	return string(c)
}

// scopeView shows what a grant covers.
func scopeView(s scope.Scope) []operationView {
	var out []operationView
	for _, r := range s.Canonical().Rules {
		one := operationView{Name: r.Operation}
		for _, c := range r.Where {
			text := c.String()
			if len(c.Values) > 0 && c.Values[0].Type() == scope.TypeMinorUnits {
				text += " " + minorUnits
			}
			one.Where = append(one.Where, text)
		}
		out = append(out, one)
	}
	return out
}

// stepView is one round of approvals.
type stepView struct {
	Number, Count, Given int
	By                   string // whose, in words
	Within               string
	Now                  bool // it is waited for
}

func stepViews(steps []access.Step, said []access.Approval, revision, current int, pending bool) []stepView {
	var out []stepView
	for i, s := range steps {
		one := stepView{Number: i + 1, Count: s.Count, By: subjects(s.Any), Within: long(s.Within), Now: pending && i == current}
		for _, a := range said {
			if a.Step == i && a.Approves && a.Revision == revision {
				one.Given++
			}
		}
		out = append(out, one)
	}
	return out
}

// Short is the digest as people compare it.
func (o offerView) Short() string { return head(o.Digest) }
