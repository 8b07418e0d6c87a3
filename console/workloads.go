package console

import (
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
)

// workloadsView is every workload that was seen.
type workloadsView struct {
	Unknown   bool // only those that policy gives no owner
	Workloads []workloadView
	Refused   int64 // certificates that proved nobody
	RefusedAt when
	Next      string // path of the next page, "" on the last one
}

// workloadView is what was seen of one.
type workloadView struct {
	Name        string
	Owner       string // "" is unknown
	Listed      bool
	Environment string
	Call        string // the newest one at a gateway, "" if there was none
	Code        string
	CalledAt    when
	First, Last when
	Allowed     int64
	Denied      int64
	Grants      int
}

const workloadsPage = 100

func (c *Console) workloads(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	view := workloadsView{Unknown: q.Get("unknown") == "1"}
	list, err := c.service.Workloads(r.Context(), v.Caller, access.ListWorkloads{Unknown: view.Unknown, After: q.Get("after"), Limit: workloadsPage})
	if err != nil {
		return err
	}
	now := c.c.Now()
	for _, u := range list {
		if u.Principal.IsZero() {
			view.Refused, view.RefusedAt = u.Denied, seen(u.Last, now)
			continue
		}
		one := workloadView{
			Name: u.Principal.String(), Owner: u.Owner, Listed: u.Known, Environment: u.Environment, Code: u.Code,
			First: seen(u.First, now), Last: seen(u.Last, now), Allowed: u.Allowed, Denied: u.Denied, Grants: u.Grants,
		}
		if !u.Called.IsZero() {
			one.Call, one.CalledAt = strings.TrimSpace(u.App+" "+u.Operation), seen(u.Called, now)
		}
		view.Workloads = append(view.Workloads, one)
	}
	if len(list) == workloadsPage {
		q.Set("after", list[len(list)-1].Principal.String())
		view.Next = "/workloads?" + q.Encode()
	}
	return c.render(w, r, http.StatusOK, "workloads", page{Title: "Workloads", Section: "workloads", Who: v, Now: now, Every: 10, Poll: 30, Body: view})
}
