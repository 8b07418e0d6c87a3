package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
)

// shownOffer is an Offer as it is shown and approved: read from its bytes only,
// with the digest that was made here from them.
type shownOffer struct {
	access.Offer
	digest string
}

// readOffer reads the bytes of a request's Offer. It refuses what could not be
// shown whole: another form or version, a part that this command does not know.
func readOffer(r api.Request) (shownOffer, error) {
	if r.Offer == nil {
		return shownOffer{}, fmt.Errorf("request %s has no offer to decide on: it is %s", r.ID, r.State)
	}
	raw := []byte(r.Offer.Bytes)
	out := shownOffer{digest: audit.SHA256(raw).String()}
	if err := json.Unmarshal(raw, &out.Offer); err != nil {
		return shownOffer{}, fmt.Errorf("the offer cannot be read: %w", err)
	}
	// What was read must be all of it: no key more, twice, or in another case.
	again, _, err := out.Encode()
	if err != nil || !bytes.Equal(again, raw) {
		return shownOffer{}, errors.Join(errors.New("the offer has parts that this version of mayfly cannot show"), err)
	}
	if out.V != 1 {
		return shownOffer{}, fmt.Errorf("the offer is of version %d, which this version of mayfly cannot show", out.V)
	}
	if out.Request != r.ID {
		return shownOffer{}, fmt.Errorf("the offer is of request %q, not of %s", out.Request, r.ID)
	}
	return out, nil
}

// render writes the Offer for whoever decides.
func (o shownOffer) render(a *app, w io.Writer) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, plain(value))
		}
	}
	line("request", o.Request+" revision "+o.Revision)
	line("asked by", partyText(o.Requester))
	if o.Beneficiary != o.Requester {
		line("for", partyText(o.Beneficiary))
	}
	for _, p := range o.Act {
		line("acting", partyText(p))
	}
	if len(o.Members) > 0 {
		line("bundle", o.Entitlement+": begins and ends as one")
	} else {
		line("entitlement", o.Entitlement+" on "+o.App)
	}
	line("parameters", paramText(o.Params))
	line("reason", orDash(o.Reason))
	line("class", o.Limits.Class)
	line("duration", durationText(o.Duration)+" from the approval")
	if o.Limits.IdleAfter != "" {
		line("unused", "it ends after "+durationText(o.Limits.IdleAfter)+" without use")
	}
	line("start by", clock(audit.Stamp(o.StartBy.Time)))
	line("left open", strings.Join(o.Limits.Any, ", "))
	if len(o.Members) == 0 || len(o.Operations) > 0 {
		fmt.Fprintln(w, "may do")
		renderOperations(w, o.Operations)
	}
	for _, m := range o.Members {
		renderMember(w, m, o.Limits.IdleAfter)
	}
	for _, f := range o.Findings {
		line("finding", f)
	}
	line("policy", o.Policy.Commit+" "+o.Policy.Digest)
	line("catalogue", o.Catalogue)
	line("sha256", o.digest)
}

// renderMember writes what a bundle offers of one entitlement, whole; idle is the
// bundle's, which was told.
func renderMember(w io.Writer, m access.OfferMember, idle string) {
	fmt.Fprintf(w, "may do by %s on %s (%s)\n", plain(m.Entitlement), plain(m.App), plain(m.Limits.Class))
	for _, fact := range [][2]string{
		{"parameters", paramText(m.Params)}, {"left open", strings.Join(m.Limits.Any, ", ")}, {"catalogue", m.Catalogue},
	} {
		if fact[1] != "" {
			fmt.Fprintf(w, "  %-10s %s\n", fact[0], plain(fact[1]))
		}
	}
	if m.Limits.IdleAfter != idle {
		fmt.Fprintf(w, "  %-10s %s\n", "unused", plain("it ends after "+durationText(m.Limits.IdleAfter)+" without use"))
	}
	renderOperations(w, m.Operations)
}

func renderOperations(w io.Writer, list []access.OfferOperation) {
	for _, op := range list {
		fmt.Fprintf(w, "  %s\n", plain(op.Name))
		for _, c := range op.Where {
			fmt.Fprintf(w, "    %s\n", plain(whereText(c)))
		}
	}
}

// whereText shows a constraint from its parts, and its words where they say more.
func whereText(c access.OfferWhere) string {
	value := fmt.Sprint(c.Value)
	if list, ok := c.Value.([]any); ok {
		texts := make([]string, len(list))
		for i, v := range list {
			texts[i] = fmt.Sprint(v)
		}
		value = strings.Join(texts, ", ")
	}
	out := c.Attribute + " " + c.Op + " " + value
	if c.Unit != "" && !strings.HasSuffix(value, c.Unit) {
		out += " " + c.Unit
	}
	if c.Words != "" {
		out += "  (" + c.Words + ")"
	}
	return out
}

func partyText(p access.Party) string {
	out := p.Principal
	if p.Shown != "" && p.Shown != p.Principal {
		out = p.Shown + ", " + out
	}
	if p.Person != "" && p.Person != p.Principal {
		out += ", person " + p.Person
	}
	return out
}

func durationText(seconds string) string {
	d, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return seconds + " s"
	}
	return d.String()
}
