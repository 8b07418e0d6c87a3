package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/policy"
)

// pollEvery is how often a command that waits asks again.
const pollEvery = 250 * time.Millisecond

// asking is what request was called with.
type asking struct {
	params   []string
	duration time.Duration
	reason   string
	denial   string
	key      string
	wait     bool
}

func (a *app) requestCommand() *cobra.Command {
	var in asking
	cmd := &cobra.Command{
		Use: "request [ENTITLEMENT]", Short: "Ask for access",
		Long: `Ask for an entitlement or a bundle, with its parameters, for a time. The answer is a grant, a
request that waits for people, or a refusal with its reason.

After a refused call, --from-denial takes the id in the refusal and asks for the
smallest entitlement that would have let the call pass.`,
		Example: `  mayfly request stripe/refunds --param charge=ch_1 --param amount_max=5000 --duration 30m --reason "refund of order 17"
  mayfly request --from-denial den_01JZZZZZZZZZZZZZZZZZZZZZZZ --param amount_max=5000 --reason "refund of order 17" --wait
  mayfly request --svid --server-id spiffe://acme.example/mayflyd reports/read`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.request(cmd.Context(), args, in) }),
	}
	f := cmd.Flags()
	f.StringArrayVar(&in.params, "param", nil, "a parameter, name=value; again for each one")
	f.Var(span{&in.duration}, "duration", "how long, such as 30m or 1h30m; left out: the entitlement's default")
	f.StringVar(&in.reason, "reason", "", "why, in words that approvers read")
	f.StringVar(&in.denial, "from-denial", "", "den_ id of a refused call: asks for what it lacked")
	f.StringVar(&in.key, "idempotency-key", "", "asking again with this key within 24 h is one request")
	f.BoolVar(&in.wait, "wait", false, "wait until the request is decided")
	f.SetNormalizeFunc(renamed(map[string]string{"for": "duration", "why": "reason"})) // as mayfly exec calls them
	return cmd
}

func (a *app) request(ctx context.Context, args []string, in asking) error {
	params, err := readParams(in.params)
	if err != nil {
		return err
	}
	ask := api.Ask{Params: params, Reason: in.reason}
	if in.duration != 0 {
		ask.Duration = in.duration.String()
	}
	if len(args) == 1 {
		ask.Entitlement = args[0]
	}
	if ask.Entitlement == "" && in.denial == "" {
		return usage{"name an entitlement, or a denial with --from-denial", "mayfly entitlements"}
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	if in.denial != "" {
		if ask, err = a.fromDenial(ctx, client, in.denial, ask); err != nil {
			return err
		}
	}
	if in.key == "" {
		in.key = api.NewKey()
	}
	made, err := client.Request(ctx, ask, in.key)
	if err != nil {
		return err
	}
	if in.wait && made.State == "pending" {
		a.note("%s waits for %s", made.ID, waitsFor(made))
		if made, err = a.untilDecided(ctx, client, made, func(api.Request) {}); err != nil {
			return err
		}
	}
	return a.answer(made)
}

// readParams reads name=value texts.
func readParams(texts []string) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range texts {
		name, value, ok := strings.Cut(t, "=")
		if !ok || name == "" {
			return nil, usage{fmt.Sprintf("--param %q is not name=value", t), "--param charge=ch_1"}
		}
		if _, twice := out[name]; twice {
			return nil, usage{fmt.Sprintf("--param %s stands twice", name), ""}
		}
		out[name] = value
	}
	return out, nil
}

// fromDenial completes ask by what a denied call lacked.
func (a *app) fromDenial(ctx context.Context, client *api.Client, denial string, ask api.Ask) (api.Ask, error) {
	found, err := client.FromDenial(ctx, denial)
	if err != nil {
		return ask, err
	}
	if ask.Entitlement != "" && ask.Entitlement != found.Ask.Entitlement {
		return ask, usage{fmt.Sprintf("the denial asks for %s, not %s", found.Ask.Entitlement, ask.Entitlement), "leave out the one or the other"}
	}
	params := maps.Clone(found.Ask.Params)
	if params == nil {
		params = map[string]string{}
	}
	maps.Copy(params, ask.Params)
	ask.Entitlement, ask.Params, ask.Denial = found.Ask.Entitlement, params, denial
	for _, name := range found.Missing {
		if _, given := params[name]; !given {
			return ask, usage{fmt.Sprintf("%s of %s was denied (%s); %s would allow it, and needs %s", found.Operation, found.App, found.Code, ask.Entitlement, name),
				"mayfly request --from-denial " + denial + " --param " + name + "=…"}
		}
	}
	a.note("%s of %s was denied (%s): asking for %s %s", found.Operation, found.App, found.Code, ask.Entitlement, paramText(params))
	return ask, nil
}

// untilDecided asks until a request is not pending any more, and shows it each time.
func (a *app) untilDecided(ctx context.Context, client *api.Client, r api.Request, show func(api.Request)) (api.Request, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for r.State == "pending" {
		select {
		case <-ctx.Done():
			a.hint("mayfly show " + r.ID)
			return r, errInterrupted
		case <-tick.C:
			show(r)
		}
		next, err := client.ShowRequest(ctx, r.ID)
		if err != nil && ctx.Err() != nil {
			continue
		}
		if err != nil {
			return r, err
		}
		r = next
	}
	return r, nil
}

// answer shows what came of a request, and ends with its code.
func (a *app) answer(r api.Request) error {
	if err := a.showAnswer(r); err != nil {
		return err
	}
	switch r.State {
	case "approved":
		return nil
	case "pending":
		return exit{exitPending}
	case "withdrawn":
		return exit{exitEnded}
	default:
		return exit{exitDenied}
	}
}

func (a *app) showAnswer(r api.Request) error {
	if a.isJSON() {
		return a.json(r)
	}
	a.pairs([2]string{"request", r.ID}, [2]string{"state", stateText(r)}, [2]string{"entitlement", r.Entitlement},
		[2]string{"parameters", paramText(r.Params)}, [2]string{"for", termText(r)}, [2]string{"grant", r.Grant},
		[2]string{"waits for", waitsFor(r)}, [2]string{"decide by", clockLeft(a, r.DecideBy)}, [2]string{"why", whyText(r)})
	a.showJoint(r.Grants)
	for _, n := range r.Notices {
		a.note("%s", n)
	}
	switch r.State {
	case "approved":
		traced := r.Grant
		if len(r.Grants) > 0 {
			traced = r.ID
		}
		a.hint("mayfly done " + r.Grant + " when you are finished; mayfly trace " + traced + " shows what was done")
	case "pending":
		a.hint("an approver types: mayfly approve " + r.ID)
		a.hint("mayfly show " + r.ID + " says where it stands")
	case "denied", "expired":
		a.hintWhy(r, "--reason")
	}
	return nil
}

// showJoint lists the grants of a bundle, and how far each has got.
func (a *app) showJoint(list []api.JointGrant) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(a.c.Stdout)
	rows := make([][]string, len(list))
	missing := 0
	for i, g := range list {
		where := fmt.Sprintf("in force at %d of %s", g.Holds, count(g.Running, "gateway"))
		switch {
		case g.EndedBy != "":
			where = g.EndedBy
		case g.InForce && g.Holds == 0:
			where = "in force"
		case !g.InForce:
			where, missing = "NOT in force: "+notYet(g), missing+1
		}
		rows[i] = []string{g.ID, g.Entitlement, g.App, g.State, where}
	}
	a.table([]string{"GRANT", "ENTITLEMENT", "APP", "STATE", "WHERE"}, rows)
	if missing > 0 {
		a.note("%d of %s in force: what is missing 30 s after the start ends all of it", len(list)-missing, count(len(list), "grant"))
	}
}

func notYet(g api.JointGrant) string {
	switch {
	case g.Running == 0:
		return "no gateway of the app is running"
	case len(g.Waits) == 0:
		return "waits for " + count(g.Running, "gateway")
	default:
		return "waits for " + strings.Join(g.Waits, ", ")
	}
}

// hintWhy says what to do about a request that came to nothing; flag is how a reason is given.
func (a *app) hintWhy(r api.Request, flag string) {
	if r.Reason == "" && r.Code == policy.DenyJustification {
		a.hint("say why, in words that approvers read: " + flag + ` "order 17"`)
		return
	}
	a.hint("mayfly explain " + r.ID)
}

// termText is empty for a request that was denied before the entitlement's default
// took the place of the duration that nobody named.
func termText(r api.Request) string {
	if r.Duration == "0s" {
		return ""
	}
	return r.Duration
}

func stateText(r api.Request) string {
	if r.Code == "" {
		return r.State
	}
	return r.State + " (" + r.Code + ")"
}

// whyText says why a request is where it is; that of an approval by people stands
// in their approvals.
func whyText(r api.Request) string {
	if r.State == "approved" && len(r.Steps) > 0 || waitsFor(r) != "" {
		return ""
	}
	return r.Sentence
}

// waitsFor says whose approval a pending request waits for.
func waitsFor(r api.Request) string {
	if r.State != "pending" {
		return ""
	}
	for _, s := range r.Steps {
		if s.Given < s.Count {
			return fmt.Sprintf("%d of %d approvals of %s", s.Count-s.Given, s.Count, strings.Join(s.Any, ", "))
		}
	}
	return ""
}

func clockLeft(a *app, s string) string {
	if s == "" {
		return ""
	}
	return clock(s) + " (" + a.left(s) + ")"
}

func (a *app) requestsCommand() *cobra.Command {
	var q api.RequestsQuery
	cmd := &cobra.Command{
		Use: "requests", Short: "List requests",
		Long: `List your own requests, newest first; with --waiting those that wait for your
decision, and with --everyone everybody's (for the security group).`,
		Example: `  mayfly requests
  mayfly requests --waiting
  mayfly requests --state denied --everyone -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return a.requests(cmd.Context(), q) }),
	}
	f := cmd.Flags()
	f.BoolVar(&q.Waiting, "waiting", false, "those that you may decide now")
	f.BoolVar(&q.Everyone, "everyone", false, "everybody's")
	f.StringVar(&q.State, "state", "", "pending, approved, denied, withdrawn or expired")
	f.StringVar(&q.App, "app", "", "of one app")
	return cmd
}

func (a *app) requests(ctx context.Context, q api.RequestsQuery) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	all, err := pages(func(cursor string) (api.Page[api.Request], error) {
		q.Cursor = cursor
		return client.Requests(ctx, q)
	})
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(all)
	}
	if len(all) == 0 {
		a.note("there are none")
		return nil
	}
	rows := make([][]string, len(all))
	for i, r := range all {
		who := r.Requester.Name
		if who == "" {
			who = r.Requester.Principal
		}
		rows[i] = []string{r.ID, stateText(r), r.Entitlement, orDash(paramText(r.Params)), orDash(termText(r)), who, clock(r.CreatedAt)}
	}
	a.table([]string{"REQUEST", "STATE", "ENTITLEMENT", "PARAMETERS", "FOR", "REQUESTER", "ASKED"}, rows)
	if q.Waiting {
		a.hint("mayfly approve " + all[0].ID)
	}
	return nil
}

// maxListed bounds how much one list shows.
const maxListed = 2000

// pages gathers the pages of a list.
func pages[T any](next func(cursor string) (api.Page[T], error)) ([]T, error) {
	out := []T{}
	for cursor := ""; ; {
		page, err := next(cursor)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Cursor == "" || len(out) >= maxListed {
			return out, nil
		}
		if page.Cursor == cursor {
			return nil, errors.New("the server's pages do not end")
		}
		cursor = page.Cursor
	}
}

func (a *app) withdrawCommand() *cobra.Command {
	return &cobra.Command{
		Use: "withdraw REQUEST", Short: "Take your request back",
		Example: "  mayfly withdraw req_01JZZZZZZZZZZZZZZZZZZZZZZZ", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			r, err := client.Withdraw(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showAnswer(r)
		}),
	}
}
