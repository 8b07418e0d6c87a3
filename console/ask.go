package console

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// listView is what can be asked for.
type listView struct {
	Query  string
	Groups []groupView
	Barred []choiceView // those that the reader may not ask for
	Found  int
	Stale  string // where to log in again, if old groups hide some; else ""
	Return destination
}

type groupView struct {
	App   string
	Items []choiceView
}

// choiceView is one entitlement in words.
type choiceView struct {
	Name, App, Owner, Class string
	Allow                   []operationView
	Default, Max            string
	Auto                    bool   // some are granted at once, by rule
	Steps                   string // whose approval it waits for otherwise
	Who                     string // who may ask
	Link                    string
}

func (c *Console) ask(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	to, err := c.destination(r.Context(), q.Get("return"))
	if err != nil {
		return err
	}
	if denial := q.Get("denial"); denial != "" {
		return c.askAfter(w, r, v, denial, to)
	}
	if name := q.Get("entitlement"); name != "" {
		in := form{"entitlement": name, "return": to.URL}
		for key := range q {
			if strings.HasPrefix(key, paramPrefix) || key == "duration" {
				in[key] = q.Get(key)
			}
		}
		return c.askForm(w, r, v, http.StatusOK, in, nil)
	}
	return c.askList(w, r, v, q.Get("q"), to, nil)
}

// askAfter fills the form from a refusal: the smallest entitlement that would
// have let it through.
func (c *Console) askAfter(w http.ResponseWriter, r *http.Request, v *visit, denial string, to destination) error {
	var id grant.DenialID
	if id.UnmarshalText([]byte(denial)) != nil {
		return c.askList(w, r, v, "", to, &notice{"info", "That is no refusal", "The link does not name one. Choose what to ask for."})
	}
	found, err := c.service.FromDenial(r.Context(), v.Caller, id)
	if access.CodeOf(err) == access.CodeNotFound {
		return c.askList(w, r, v, "", to, &notice{"info", "Nothing found for this refusal",
			"Either it is not on record for you, or nothing that you may ask for covers it. Choose what to ask for."})
	}
	if err != nil {
		return err
	}
	in := form{"entitlement": found.Entitlement, "return": to.URL}
	for name, value := range found.Params {
		in[paramPrefix+name] = value
	}
	n := &notice{"info", "You were refused " + found.Operation + " on " + found.App,
		sentence(found.Code.Info().Title) + " This is the smallest entitlement that would allow it."}
	return c.askForm(w, r, v, http.StatusOK, in, n)
}

func (c *Console) askList(w http.ResponseWriter, r *http.Request, v *visit, query string, to destination, n *notice) error {
	choices, err := c.service.Choices(r.Context(), v.Caller)
	if err != nil {
		return err
	}
	view := listView{Query: clip(strings.TrimSpace(query)), Return: to}
	for _, one := range choices {
		if !matches(one, view.Query) {
			continue
		}
		item := choiceOf(one)
		if one.Barred != "" {
			if one.Barred == policy.DenyLoginAgain {
				view.Stale = loginURL(r)
			}
			view.Barred = append(view.Barred, item)
			continue
		}
		item.Link = "/ask?" + askQuery(one.Name, to)
		view.Found++
		i := slices.IndexFunc(view.Groups, func(g groupView) bool { return g.App == item.App })
		if i < 0 {
			i = len(view.Groups)
			view.Groups = append(view.Groups, groupView{App: item.App})
		}
		view.Groups[i].Items = append(view.Groups[i].Items, item)
	}
	slices.SortFunc(view.Groups, func(a, b groupView) int { return strings.Compare(a.App, b.App) })
	return c.render(w, r, http.StatusOK, "ask", page{Title: "Ask for access", Section: "ask", Who: v, Notice: n, Body: view})
}

func askQuery(name string, to destination) string {
	q := url.Values{"entitlement": {name}}
	if to.URL != "" {
		q.Set("return", to.URL)
	}
	return q.Encode()
}

// matches reports whether every word of a query stands in an entitlement.
func matches(e access.Choice, query string) bool {
	words := append([]string{e.Name, e.App, e.Owner, e.Class.String()}, e.Operations()...)
	for _, m := range e.Members {
		words = append(append(words, m.Name, m.App), m.Operations()...)
	}
	text := strings.ToLower(strings.Join(words, " "))
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// choiceOf says in words what can be asked for, and of a bundle what each of its
// entitlements is.
func choiceOf(c access.Choice) choiceView {
	if len(c.Members) == 0 {
		return entitlementChoice(c.Entitlement)
	}
	out := entitlementChoice(c.Entitlement)
	out.Who, out.Auto = "whoever may ask for each of "+strings.Join(namesOf(c.Members), ", "), true
	var steps []string
	for _, m := range c.Members {
		one := entitlementChoice(m)
		out.Auto = out.Auto && one.Auto
		for _, a := range one.Allow {
			out.Allow = append(out.Allow, operationView{Name: m.App + " " + a.Name, Where: a.Where})
		}
		if one.Steps != "" && !slices.Contains(steps, one.Steps) {
			steps = append(steps, one.Steps)
		}
	}
	out.Steps = strings.Join(steps, ", then ")
	return out
}

func namesOf(list []*policy.Entitlement) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.Name
	}
	return out
}

func entitlementChoice(e *policy.Entitlement) choiceView {
	out := choiceView{
		Name: e.Name, App: e.App, Owner: e.Owner, Class: e.Class.String(), Default: long(e.Default), Max: long(e.Max), Auto: e.Auto != "",
	}
	for _, a := range e.Allow {
		one := operationView{Name: strings.Join(a.Operations, ", ")}
		for _, b := range a.Where {
			one.Where = append(one.Where, boundText(b))
		}
		out.Allow = append(out.Allow, one)
	}
	var steps []string
	for _, s := range e.Steps {
		steps = append(steps, approvalsOf(s.Count, s.Any))
	}
	out.Steps = strings.Join(steps, ", then ")
	who := make([]string, len(e.Who))
	for i, s := range e.Who {
		who[i] = s.String()
	}
	out.Who = subjects(who)
	return out
}

func approvalsOf(count int, by []string) string {
	if count > 1 {
		return strconv.Itoa(count) + " persons of " + subjects(by)
	}
	return subjects(by)
}

// boundText says in words what bounds an attribute; a parameter is the asker's own.
func boundText(b policy.Bound) string {
	values := make([]string, len(b.Values))
	for i, o := range b.Values {
		values[i] = o.Literal
		if o.Param != "" {
			values[i] = "the " + o.Param + " that you name"
		}
	}
	return b.Attribute + " " + comparison(b.Comparison) + " " + orList(values)
}

const (
	paramPrefix   = "param."
	otherDuration = "other"
)

// askView is the form.
type askView struct {
	choiceView
	Params    []paramView
	Durations []durationView
	Other     string // typed
	OtherOn   bool
	Justify   bool
	Reason    string
	Key       string
	Return    destination
	Preview   *previewView
}

// paramView is one field.
type paramView struct {
	Name, Label, Words, Pattern string
	Required                    bool
	Value                       string
	Choices                     []string // of a closed list
	Numeric                     bool
	Example                     string
}

type durationView struct {
	Value, Text string
	On, Max     bool
}

// previewView is what policy would say, in words.
type previewView struct {
	Kind     string // good, info or bad
	Title    string
	Text     string
	Steps    []stepView
	Offer    *offerView
	Instead  string // a duration that would be answered better, for the form
	InsteadT string // what would come of it
}

// askForm shows the form as it was filled in. With every required parameter there
// it says what policy would answer.
func (c *Console) askForm(w http.ResponseWriter, r *http.Request, v *visit, status int, in form, n *notice) error {
	ctx := r.Context()
	choices, err := c.service.Choices(ctx, v.Caller)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(choices, func(e access.Choice) bool { return e.Name == in["entitlement"] })
	if i < 0 {
		return c.askList(w, r, v, "", destination{}, &notice{"bad", "There is no entitlement " + clip(in["entitlement"]), "The policy may have changed. Choose what to ask for."})
	}
	e := choices[i]
	to, err := c.destination(ctx, in["return"])
	if err != nil {
		return err
	}
	view := askView{
		choiceView: choiceOf(e), Justify: e.Justify, Reason: in["reason"], Key: in["key"], Return: to, Other: in["other"],
	}
	if !validKey(view.Key) {
		view.Key = newKey()
	}
	complete := true
	for _, p := range e.Params {
		one := paramOf(p, in[paramPrefix+p.Name])
		complete = complete && (one.Value != "" || !one.Required)
		view.Params = append(view.Params, one)
	}
	view.durations(e.Entitlement, in["duration"])
	if complete || e.Barred != "" || in["do"] == "check" {
		if view.Preview, err = c.foresee(ctx, v, e.Entitlement, in); err != nil {
			return err
		}
	}
	return c.render(w, r, status, "askform", page{Title: "Ask for " + e.Name, Section: "ask", Who: v, Notice: n, Body: view})
}

// durations offers few lengths: two or three short ones, the default, the cap.
func (a *askView) durations(e *policy.Entitlement, chosen string) {
	all := access.Durations(e)
	text := chosen
	if d, err := readDuration(chosen); err == nil {
		text = d.String()
	}
	if text == "" {
		text = e.Default.String()
	}
	for i, d := range all {
		if i < 3 || d == e.Default || d == e.Max || d.String() == text {
			a.Durations = append(a.Durations, durationView{Value: d.String(), Text: long(d), On: d.String() == text, Max: d == e.Max})
		}
	}
	if !slices.ContainsFunc(a.Durations, func(d durationView) bool { return d.On }) {
		a.OtherOn = true
		if chosen != otherDuration && a.Other == "" {
			a.Other = clip(chosen)
		}
	}
}

func paramOf(p policy.Param, value string) paramView {
	out := paramView{Name: p.Name, Label: strings.ReplaceAll(p.Name, "_", " "), Required: p.Required, Value: value, Pattern: p.Pattern}
	var words []string
	switch p.Type {
	case scope.TypeInteger:
		words, out.Numeric = append(words, "a whole number"), true
	case scope.TypeMinorUnits:
		words, out.Numeric = append(words, "an amount "+minorUnits), true
	case scope.TypeMoney:
		words, out.Example = append(words, "an amount with its currency"), "42.00 usd"
	case scope.TypePath:
		words, out.Example = append(words, "a path"), "/folder/file"
	case scope.TypeBoolean:
		words, out.Choices = append(words, "true or false"), []string{"true", "false"}
	default:
		words = append(words, "text")
	}
	if len(p.Values) > 0 {
		out.Choices = nil
		for _, v := range p.Values {
			out.Choices = append(out.Choices, v.String())
		}
	}
	if !p.Min.IsZero() {
		words = append(words, "at least "+p.Min.String())
	}
	if !p.Max.IsZero() {
		words = append(words, "at most "+p.Max.String())
	}
	out.Words = strings.Join(words, ", ")
	return out
}

// readAsk makes an Ask of what was typed; an empty parameter is one left out.
func readAsk(in form) (access.Ask, error) {
	a := access.Ask{Entitlement: in["entitlement"], Params: map[string]string{}, Reason: strings.TrimSpace(in["reason"])}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if param, ok := strings.CutPrefix(name, paramPrefix); ok && strings.TrimSpace(in[name]) != "" {
			a.Params[param] = strings.TrimSpace(in[name])
		}
	}
	text := in["duration"]
	if text == otherDuration {
		text = in["other"]
	}
	if strings.TrimSpace(text) == "" {
		if in["duration"] == otherDuration {
			return a, errors.New("say for how long")
		}
		return a, nil
	}
	var err error
	a.Duration, err = readDuration(text)
	return a, err
}

// foresee says in words what policy would answer; nil if there is no question yet.
// Where a reason is wanted it is taken as given: the form asks for it, and only
// whether there is one counts.
func (c *Console) foresee(ctx context.Context, v *visit, e *policy.Entitlement, in form) (*previewView, error) {
	a, err := readAsk(in)
	if err != nil {
		return nil, nil // said above the form
	}
	missing := e.Justify && a.Reason == ""
	if missing {
		a.Reason = "not written yet"
	}
	p, err := c.service.Preview(ctx, v.Caller, a)
	if err != nil {
		f := access.FaultOf(err)
		if f.Info().HTTP >= http.StatusInternalServerError {
			return nil, err
		}
		return &previewView{Kind: "bad", Title: f.Info().Title, Text: sentence(f.Sentence)}, nil
	}
	out := viewPreview(p)
	if missing && p.Outcome != policy.Denied {
		out.Text += " Write the reason, too."
	}
	return out, nil
}

func viewPreview(p access.Preview) *previewView {
	out := &previewView{Kind: "bad", Title: "Policy would deny this", Text: sentence(p.Sentence)}
	switch p.Outcome {
	case policy.Granted:
		out.Kind, out.Title, out.Text = "good", "Granted at once", "For "+long(p.Duration)+", by rule. Nobody has to approve it."
	case policy.NeedsApproval:
		out.Kind, out.Title, out.Text = "info", "Needs approval", "It would run for "+long(p.Duration)+" from the approval."
		out.Steps = stepViews(p.Steps, nil, 1, 0, false)
	}
	if p.Outcome != policy.Denied {
		o := viewOffer(p.Offer, "", p.Now)
		out.Offer = &o
	}
	if d := p.Instead.Duration; d > 0 {
		out.Instead, out.InsteadT = long(d), "would be granted at once"
		if p.Instead.Outcome != policy.Granted {
			out.InsteadT = "is the longest that can be asked for"
		}
	}
	return out
}

// postAsk asks, or only says what would come of it.
func (c *Console) postAsk(w http.ResponseWriter, r *http.Request, v *visit, f form) error {
	ask, err := readAsk(f)
	if err != nil {
		return c.askForm(w, r, v, http.StatusUnprocessableEntity, f, &notice{"bad", "Not asked yet", sentence(err.Error())})
	}
	if f["do"] == "check" {
		return c.askForm(w, r, v, http.StatusOK, f, nil)
	}
	if !validKey(f["key"]) {
		return badForm("it has no key, with which it would count once")
	}
	ask.IdempotencyKey = f["key"]
	made, err := c.service.Request(r.Context(), v.Caller, ask)
	switch access.CodeOf(err) {
	case "":
	case access.CodeKeyReused:
		f["key"] = ""
		return c.askForm(w, r, v, http.StatusConflict, f, &notice{"info", "This form was sent before, with other words", "That request stands. Send again to ask for this one too."})
	case access.CodeInvalid, access.CodePendingLimit:
		return c.askForm(w, r, v, access.FaultOf(err).Info().HTTP, f, &notice{"bad", "Not asked", sentence(access.FaultOf(err).Sentence)})
	default:
		return err
	}
	to, err := c.destination(r.Context(), f["return"])
	if err != nil {
		return err
	}
	return redirect(w, withReturn("/requests/"+made.ID.String(), to))
}
