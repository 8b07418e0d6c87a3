package console

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// explainView is why a request is where it is.
type explainView struct {
	ID, Entitlement, State, Code, Why string
	Owner                             string   // of the entitlement
	Remedies                          []string // that would have been answered better
	Help                              []string
	Decisions                         []decisionView
}

// decisionView is one decision of policy, as stored, and made again.
type decisionView struct {
	When, Outcome, Code, Why string
	Commit, Policy, Engine   string
	Rules                    []ruleView
	Inputs                   string
	Same                     bool // made again it is the same
	Replay                   string
}

type ruleView struct{ Code, Text, Place string }

func (c *Console) explain(w http.ResponseWriter, r *http.Request, v *visit) error {
	var id grant.RequestID
	if err := pathID(r, &id); err != nil {
		return err
	}
	e, err := c.service.Explain(r.Context(), v.Caller, id.String())
	if err != nil {
		return err
	}
	view := explainView{ID: id.String(), Entitlement: e.Request.Entitlement, State: string(e.Request.State), Code: e.Request.Code, Why: sentence(e.Request.Sentence)}
	if e.Request.State == access.Approved { // what it waited for is over; the decisions tell it
		view.Why = ""
	}
	view.Owner, view.Help = e.Owner, e.Help
	for _, ch := range e.Remedies {
		view.Remedies = append(view.Remedies, changeText(ch))
	}
	for _, d := range e.Decisions {
		one := decisionView{
			When: d.When, Outcome: d.Outcome, Code: d.Code, Why: sentence(d.Sentence), Commit: d.Inputs.Commit, Policy: d.Inputs.Policy,
			Engine: d.Inputs.Engine, Inputs: string(d.Inputs.Canonical()), Same: d.Replay == access.ReplaySame, Replay: d.Replay,
		}
		if d.Detail != "" {
			one.Replay += ": " + d.Detail
		}
		for _, reason := range d.Reasons {
			place := reason.File
			if n, _ := strconv.Atoi(reason.Line); n > 0 {
				place += ":" + reason.Line
			}
			one.Rules = append(one.Rules, ruleView{reason.Code, reason.Text, place})
		}
		view.Decisions = append(view.Decisions, one)
	}
	return c.render(w, r, http.StatusOK, "explain", page{Title: "Why: " + view.Entitlement, Who: v, Now: e.Request.Now, Body: view})
}

// changeText is what would have made a difference, and which.
func changeText(c policy.Remedy) string {
	texts := make([]string, len(c.Edits))
	for i, e := range c.Edits {
		texts[i] = e.Text
	}
	text := "With " + strings.Join(texts, ", and ")
	if c.Outcome == policy.Granted {
		return text + ": granted at once"
	}
	return text + ": put before approvers"
}
