package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const (
	root    = "/api/v1"
	maxNote = 64 << 10 // bytes of a signed checkpoint
)

// at returns a path below the API, each part escaped.
func at(parts ...string) string {
	p := root
	for _, s := range parts {
		p += "/" + url.PathEscape(s)
	}
	return p
}

// post sends body to path and reads the answer.
func post[T any](ctx context.Context, c *Client, path string, body any, key string) (T, error) {
	var out T
	err := c.do(ctx, call{method: http.MethodPost, path: path, body: body, key: key}, &out)
	return out, err
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var out T
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: query}, &out)
	return out, err
}

// Request asks for access. Under the same key a repeated call answers with the
// first one's request; see NewKey.
func (c *Client) Request(ctx context.Context, a Ask, key string) (Request, error) {
	return post[Request](ctx, c, at("requests"), a, key)
}

// RequestsQuery narrows a list of requests. Zero fields do not.
type RequestsQuery struct {
	State    string
	App      string
	Waiting  bool // those that the caller may decide now; nothing else is looked at
	Everyone bool // everybody's: for the security group
	Cursor   string
	Limit    int // 0: the server's own
}

func (q RequestsQuery) values() url.Values {
	return values(map[string]string{
		"state": q.State, "app": q.App, "waiting": flag(q.Waiting), "everyone": flag(q.Everyone), "cursor": q.Cursor, "limit": number(q.Limit),
	})
}

// Requests returns one page of requests, newest first.
func (c *Client) Requests(ctx context.Context, q RequestsQuery) (Page[Request], error) {
	return get[Page[Request]](ctx, c, at("requests"), q.values())
}

// ShowRequest returns one request with its Offer and approvals.
func (c *Client) ShowRequest(ctx context.Context, id string) (Request, error) {
	return get[Request](ctx, c, at("requests", id), nil)
}

// Approve approves the Offer with the digest of v.
func (c *Client) Approve(ctx context.Context, id string, v Verdict) (Request, error) {
	return post[Request](ctx, c, at("requests", id, "approve"), v, "")
}

// Deny refuses a request.
func (c *Client) Deny(ctx context.Context, id string, v Verdict) (Request, error) {
	return post[Request](ctx, c, at("requests", id, "deny"), v, "")
}

// Withdraw takes one's own request back.
func (c *Client) Withdraw(ctx context.Context, id string) (Request, error) {
	return post[Request](ctx, c, at("requests", id, "withdraw"), Because{}, "")
}

// GrantsQuery narrows a list of grants. Zero fields do not.
type GrantsQuery struct {
	App         string
	Entitlement string
	All         bool // those that have ended too
	Everyone    bool // everybody's: for the security group
	Cursor      string
	Limit       int // 0: the server's own
}

func (q GrantsQuery) values() url.Values {
	return values(map[string]string{
		"app": q.App, "entitlement": q.Entitlement, "all": flag(q.All), "everyone": flag(q.Everyone), "cursor": q.Cursor, "limit": number(q.Limit),
	})
}

// Grants returns one page of grants, newest first.
func (c *Client) Grants(ctx context.Context, q GrantsQuery) (Page[Grant], error) {
	return get[Page[Grant]](ctx, c, at("grants"), q.values())
}

// ShowGrant returns one grant.
func (c *Client) ShowGrant(ctx context.Context, id string) (Grant, error) {
	return get[Grant](ctx, c, at("grants", id), nil)
}

// Revoke ends somebody's grant and returns whose word on it is awaited.
func (c *Client) Revoke(ctx context.Context, id string, b Because) (Receipts, error) {
	return post[Receipts](ctx, c, at("grants", id, "revoke"), b, "")
}

// Finish ends one's own grant.
func (c *Client) Finish(ctx context.Context, id string) (Receipts, error) {
	return post[Receipts](ctx, c, at("grants", id, "finish"), Because{}, "")
}

// Receipts returns which instances have heard of a grant's early end.
func (c *Client) Receipts(ctx context.Context, id string) (Receipts, error) {
	return get[Receipts](ctx, c, at("grants", id, "receipts"), nil)
}

// Reach returns where a live grant can be used, and where it is in force already.
func (c *Client) Reach(ctx context.Context, id string) (Reach, error) {
	return get[Reach](ctx, c, at("grants", id, "reach"), nil)
}

// FromDenial returns what to ask for after a denial of the caller's.
func (c *Client) FromDenial(ctx context.Context, id string) (Suggestion, error) {
	return get[Suggestion](ctx, c, at("denials", id), nil)
}

// Nodes returns every registered sidecar and what runs of it.
func (c *Client) Nodes(ctx context.Context) (Nodes, error) {
	return get[Nodes](ctx, c, at("nodes"), nil)
}

// Lock ends all that somebody holds and keeps them out.
func (c *Client) Lock(ctx context.Context, v LockVerdict) (Lock, error) {
	return post[Lock](ctx, c, at("locks"), v, "")
}

// Unlock lets somebody in again.
func (c *Client) Unlock(ctx context.Context, v LockVerdict) (Lock, error) {
	return post[Lock](ctx, c, at("locks", "lift"), v, "")
}

// PolicyStatus returns how policy stands.
func (c *Client) PolicyStatus(ctx context.Context) (PolicyStatus, error) {
	return get[PolicyStatus](ctx, c, at("policy"), nil)
}

// HoldPolicy asks for policy to be kept at a commit, or confirms that somebody did.
func (c *Client) HoldPolicy(ctx context.Context, v HoldVerdict) (PolicyHold, error) {
	return post[PolicyHold](ctx, c, at("policy", "hold"), v, "")
}

// Locks returns who is locked, oldest first.
func (c *Client) Locks(ctx context.Context) (Page[Lock], error) {
	return get[Page[Lock]](ctx, c, at("locks"), nil)
}

// Keys returns the keys of access tokens, the newest first.
func (c *Client) Keys(ctx context.Context) (Page[Key], error) {
	return get[Page[Key]](ctx, c, at("keys"), nil)
}

// RotateKeys has the next key sign, and returns the keys as they are then.
func (c *Client) RotateKeys(ctx context.Context, r KeyRotation) (Page[Key], error) {
	return post[Page[Key]](ctx, c, at("keys", "rotate"), r, "")
}

// RemoveKey has a key verify nothing any more, and returns the keys as they are then.
func (c *Client) RemoveKey(ctx context.Context, r KeyRemoval) (Page[Key], error) {
	return post[Page[Key]](ctx, c, at("keys", "remove"), r, "")
}

// Quarantine tells a gateway nothing more until it is released.
func (c *Client) Quarantine(ctx context.Context, v NodeVerdict) error {
	return c.do(ctx, call{method: http.MethodPost, path: at("nodes", "quarantine"), body: v}, nil)
}

// Release takes a gateway back.
func (c *Client) Release(ctx context.Context, v NodeVerdict) error {
	return c.do(ctx, call{method: http.MethodPost, path: at("nodes", "release"), body: v}, nil)
}

// Trace returns the chain that any id belongs to.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	return get[Trace](ctx, c, at("trace", id), nil)
}

// Explain says why something is as it is: a request, a grant, an action, a denial.
func (c *Client) Explain(ctx context.Context, id string) (Explanation, error) {
	return get[Explanation](ctx, c, at("explain", id), nil)
}

// Entitlements returns what can be asked for.
func (c *Client) Entitlements(ctx context.Context) (Page[Entitlement], error) {
	return get[Page[Entitlement]](ctx, c, at("entitlements"), nil)
}

// Whoami says who the caller is to the server.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return get[Whoami](ctx, c, at("whoami"), nil)
}

// Logout ends the session that the client speaks with.
func (c *Client) Logout(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodPost, path: at("logout")}, nil)
}

// Checkpoint returns the newest signed checkpoint of the record.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	res, err := c.send(ctx, call{method: http.MethodGet, path: "/checkpoint"})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxNote+1))
	if err == nil && len(b) > maxNote {
		err = errors.New("the checkpoint is too long")
	}
	return b, err
}

// Export streams the whole record as a tar archive of the folder that audit
// verify takes. An archive that was cut short is an error of the reader. The
// caller closes it.
func (c *Client) Export(ctx context.Context) (io.ReadCloser, error) {
	res, err := c.send(ctx, call{method: http.MethodGet, path: at("audit", "export")})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// values returns the pairs whose value is not empty.
func values(m map[string]string) url.Values {
	out := url.Values{}
	for name, v := range m {
		if v != "" {
			out.Set(name, v)
		}
	}
	return out
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
