package api

import (
	"context"
	"net/url"
)

// Workload is what was seen of one workload, by calls at gateways and of this API.
type Workload struct {
	Workload string `json:"workload"`        // SPIFFE ID; empty: certificates that proved nobody
	Owner    string `json:"owner,omitempty"` // by policy; empty: unknown
	Listed   bool   `json:"listed"`          // policy takes workloads of its trust domain
	First    string `json:"first"`
	Last     string `json:"last"`
	// Of the newest call at a gateway; empty: there was none.
	Called      string `json:"called,omitempty"`
	Environment string `json:"environment,omitempty"` // of the gateway
	App         string `json:"app,omitempty"`
	Operation   string `json:"operation,omitempty"`
	Code        string `json:"code,omitempty"` // why it was denied; empty: it was allowed
	Allowed     int64  `json:"allowed"`        // calls at gateways
	Denied      int64  `json:"denied"`
	Asked       int64  `json:"asked"`  // calls of this API, one in ten seconds
	Grants      int    `json:"grants"` // live ones
}

// WorkloadsQuery narrows a list of workloads.
type WorkloadsQuery struct {
	Unknown bool // only those that policy gives no owner
	Cursor  string
	Limit   int // 0: the server's own
}

func (q WorkloadsQuery) values() url.Values {
	return values(map[string]string{"unknown": flag(q.Unknown), "cursor": q.Cursor, "limit": number(q.Limit)})
}

// Workloads returns one page of the workloads that were seen, by SPIFFE ID.
func (c *Client) Workloads(ctx context.Context, q WorkloadsQuery) (Page[Workload], error) {
	return get[Page[Workload]](ctx, c, at("workloads"), q.values())
}
