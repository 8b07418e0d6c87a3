package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mayflyproxy/mayfly/api"
)

// days is a flag for a length of time that may be written in days.
type days struct{ span }

var _ pflag.Value = days{}

func (d days) Set(text string) error {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		count, err := strconv.ParseUint(n, 10, 16)
		if err != nil || count == 0 {
			return errors.New("want 7d, 36h or the like")
		}
		*d.to = time.Duration(count) * 24 * time.Hour
		return nil
	}
	return d.span.Set(text)
}

func (a *app) observeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "observe", Short: "Say who would be cut off by enforcing an app in observe mode",
		Example: "  mayfly observe report", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return errors.New("mayfly observe report") },
	}
	cmd.AddCommand(a.observeReportCommand())
	return cmd
}

func (a *app) observeReportCommand() *cobra.Command {
	var q api.ObserveQuery
	cmd := &cobra.Command{
		Use: "report", Short: "List who would be cut off, and propose the entitlements that are needed",
		Long: `Lists what was done on apps in observe mode, by caller, operation and what would have
been decided: a code is a denial, allowed is under a grant. For the security group, and
of whom somebody may read the traces, under a grant of traces.read.

With --owner an entitlement is proposed for each group of callers with the same needs, as
files for the policy's repository: only operations that were seen, no patterns, and a
constraint where an attribute had one value only. The security group approves them until
somebody who knows better is named.`,
		Example: `  mayfly observe report
  mayfly observe report --app wiki --since 30d
  mayfly observe report --app wiki --owner team-data
  mayfly observe report -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			r, err := client.ObserveReport(cmd.Context(), q)
			if err != nil {
				return err
			}
			if a.isJSON() {
				return a.json(r)
			}
			a.showObserveReport(r, q.Owner)
			return nil
		}),
	}
	cmd.Flags().StringVar(&q.App, "app", "", "only this app")
	cmd.Flags().Var(days{span{&q.Since}}, "since", "back from now, in whole days: 7d unless said")
	cmd.Flags().StringVar(&q.Owner, "owner", "", "who owns what is proposed; without it nothing is")
	return cmd
}

func (a *app) showObserveReport(r api.ObserveReport, owner string) {
	a.showObserved(r.Apps)
	rows := make([][]string, len(r.Rows))
	denied := 0
	for i, row := range r.Rows {
		became := row.Code
		if became == "" {
			became = "allowed"
		} else {
			denied++
		}
		rows[i] = []string{row.App, row.Name, orDash(row.Operation), became, strconv.FormatInt(row.Count, 10), clock(row.Last)}
	}
	if len(rows) == 0 {
		a.note("nothing was observed since %s", clock(r.From))
		return
	}
	a.table([]string{"APP", "CALLER", "OPERATION", "WOULD BE", "COUNT", "LAST SEEN"}, rows)
	for _, text := range r.Unmet {
		fmt.Fprintln(a.c.Stdout, plain("no entitlement covers: "+text))
	}
	for _, p := range r.Proposals {
		fmt.Fprintf(a.c.Stdout, "\n# %s\n%s", plain(p.Path), p.Text)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(a.c.Stdout, plain("policy check: "+p))
	}
	if owner == "" && denied > 0 {
		a.hint("mayfly observe report --owner TEAM, to have entitlements proposed")
	}
}
