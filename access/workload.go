package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// WorkloadUse is what was seen of one workload. The one without a principal is of
// certificates that proved nobody.
type WorkloadUse struct {
	Principal   identity.Principal
	First, Last time.Time
	Called      time.Time // the newest call at a gateway, of which is what follows; zero: there was none
	Environment string    // of the gateway
	App         string    // empty too where it was denied before the app was known
	Operation   string
	Code        string // reason code of its denial, "" if it was allowed

	Allowed, Denied int64 // calls at gateways
	Asked           int64 // calls of the API, counted once in ten seconds
}

// join adds what else was seen of the same workload.
func (u WorkloadUse) join(o WorkloadUse) WorkloadUse {
	if u.First.IsZero() {
		return o
	}
	out := u
	if !o.Called.Before(u.Called) {
		out.Called, out.Environment, out.App, out.Operation, out.Code = o.Called, o.Environment, o.App, o.Operation, o.Code
	}
	out.First = earlier(u.First, o.First)
	if o.Last.After(u.Last) {
		out.Last = o.Last
	}
	out.Allowed, out.Denied, out.Asked = u.Allowed+o.Allowed, u.Denied+o.Denied, u.Asked+o.Asked
	return out
}

// WorkloadView is a workload as it stands now.
type WorkloadView struct {
	WorkloadUse
	Owner  string // by policy; "": nobody says whose it is
	Known  bool   // policy takes workloads of its trust domain
	Grants int    // live ones
}

// ListWorkloads is which workloads to list, by principal.
type ListWorkloads struct {
	Unknown bool   // only those that policy gives no owner
	After   string // the last principal of the page before
	Limit   int    // 0 or more than 200: 200
}
