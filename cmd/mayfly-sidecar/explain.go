package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/spool"
)

// explanation is what this machine knows about a denial, and from where.
type explanation struct {
	Denial string            `json:"denial"`
	Record *recordedDenial   `json:"record,omitempty"` // from the spool's folder; none: shipped, and gone from there
	Memory *proxy.Remembered `json:"memory,omitempty"` // of the running process; none: it does not run, or has forgotten
	Now    *statusView       `json:"now,omitempty"`
	Cannot []string          `json:"cannot,omitempty"` // what is not known here
}

type recordedDenial struct {
	Time   string       `json:"time"`
	Node   string       `json:"node"`
	Seq    uint64       `json:"seq"`
	Denied audit.Denied `json:"denied"`
}

func explainCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain DENIAL",
		Short: "Why a request was denied, from this machine alone, with mayflyd away",
		Long: `Reads the record of a denial from the spool in state_dir, and asks the sidecar that runs
what it remembers: the grants that the caller held then and what each lacked, the revision,
the lease, and what could be asked for. It needs no mayflyd, and says what it cannot know.`,
		Example: "  mayfly-sidecar explain den_01JZZZZZZZZZZZZZZZZZZZZZZZ --config /etc/mayfly/sidecar.yaml",
		Args:    cobra.ExactArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "for programs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := loadConfig(o.config, o.dev)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(args[0], "den_") {
			return fmt.Errorf("%q is not the id of a denial (den_…)", args[0])
		}
		x := explanation{Denial: args[0]}
		var answer bytes.Buffer
		err = askRunning(cmd.Context(), *o, http.MethodGet, "/explain?id="+url.QueryEscape(args[0]), &answer)
		if err == nil {
			err = json.Unmarshal(answer.Bytes(), &x)
		}
		if err != nil {
			x.Cannot = append(x.Cannot, "the sidecar does not answer, so that only the record is known: "+err.Error())
		}
		if err := x.fromSpool(filepath.Join(c.StateDir, "spool")); err != nil {
			x.Cannot = append(x.Cannot, "the record: "+err.Error())
		}
		if x.Record == nil && x.Memory == nil {
			return fmt.Errorf("nothing is known here of %s: it was shipped and forgotten, or is not this gateway's; mayfly explain %s asks mayflyd\n%s", args[0], args[0], strings.Join(x.Cannot, "\n"))
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(x)
		}
		x.write(cmd.OutOrStdout())
		return nil
	}
	return cmd
}

func (x *explanation) fromSpool(dir string) error {
	d, r, ok, err := spool.FindDenied(dir, x.Denial)
	if ok {
		x.Record = &recordedDenial{Time: audit.Stamp(r.Time), Node: r.Node, Seq: r.Seq, Denied: d}
	}
	return err
}

// explain answers with what the process remembers.
func (s *sidecar) explain(w http.ResponseWriter, r *http.Request) {
	x := explanation{Denial: r.FormValue("id")}
	if m, ok := s.denials.Get(x.Denial); ok {
		x.Memory = &m
	}
	v := statusOf(s.instance.String(), s.table, s.spool.Load())
	x.Now = &v
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(x)
}

func (x *explanation) write(w io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	say("%s", x.Denial)
	if r := x.Record; r != nil {
		say("From the record (%s, record %d):", r.Node, r.Seq)
		say("  %s  %s  %q on app %q by %s", r.Time, r.Denied.Code, r.Denied.Operation, r.Denied.App, r.Denied.Principal)
		say("  revision %d/%d, lease %s old", r.Denied.Epoch, r.Denied.Revision, time.Duration(r.Denied.FreshnessMS)*time.Millisecond)
		for name, a := range r.Denied.Attributes {
			if a.HMAC != "" {
				say("  %s is on record by HMAC only", name)
			} else {
				say("  %s = %q", name, a.Value)
			}
		}
	} else {
		x.Cannot = append(x.Cannot, "the record of it is not in the spool any more: it was shipped to mayflyd")
	}
	x.writeMemory(say)
	if n := x.Now; n != nil {
		say("Now: revision %d/%d, %d grants, heard %s ago, clock %s, record %s", n.Epoch, n.Revision, n.Grants, n.HeardAgo, n.Clock, n.Record)
	}
	for _, c := range append(x.Cannot, "what policy says today, who approves, and what mayflyd did since: mayfly explain "+x.Denial) {
		say("Not known here: %s", c)
	}
}

func (x *explanation) writeMemory(say func(string, ...any)) {
	m := x.Memory
	if m == nil {
		x.Cannot = append(x.Cannot, "what was held then: the running sidecar remembers its last 512 denials, and not this one")
		return
	}
	say("From the memory of the running sidecar, as it was then:")
	say("  %s  %s, revision %d/%d, lease %s old", m.Principal, m.Code, m.Epoch, m.Revision, m.LeaseAge)
	if len(m.Near) == 0 {
		say("  nothing was held on app %s", m.App)
	}
	for _, n := range m.Near {
		say("  held %s of %s until %s: %s", n.Grant, n.Entitlement, n.Ends.UTC().Format(time.RFC3339), n)
	}
	for _, a := range m.Asks {
		say("  could be asked for: %s (needs %s)", a.Entitlement, strings.Join(a.Required, ", "))
	}
}
