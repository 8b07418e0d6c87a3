package api

import (
	"context"
	"time"
)

// ObservedApp is an app in observe mode: nobody is denied there for want of a grant.
type ObservedApp struct {
	App       string `json:"app"`
	Owner     string `json:"owner"`               // of the exception, else of the app
	Until     string `json:"until,omitempty"`     // from then on it is enforced; empty: no end
	Exception string `json:"exception,omitempty"` // that excuses it
}

// ObserveReport says who would be cut off if the apps in observe mode were enforced.
type ObserveReport struct {
	From      string        `json:"from"` // the beginning of the first day that it is about
	Apps      []ObservedApp `json:"apps"` // in observe mode now
	Rows      []ObservedRow `json:"rows"`
	Proposals []PolicyFile  `json:"proposals,omitempty"` // entitlements that would be needed
	Unmet     []string      `json:"unmet,omitempty"`     // what no entitlement can cover, in words
	Problems  []string      `json:"problems,omitempty"`  // what mayfly policy check has against the proposals
}

// ObservedRow is what one caller did on an app in observe mode.
type ObservedRow struct {
	App       string `json:"app"`
	Principal string `json:"principal,omitempty"` // empty: who it was has been erased
	Name      string `json:"name"`
	Operation string `json:"operation,omitempty"` // empty: one that the catalogue does not know
	Code      string `json:"code,omitempty"`      // it would have been denied with; empty: it would have been allowed
	Count     int64  `json:"count"`
	Last      string `json:"last_at"`
}

// PolicyFile is a file of a policy.
type PolicyFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// ObserveQuery is what a report is about.
type ObserveQuery struct {
	App   string        // empty: every app
	Since time.Duration // 0: seven days
	Owner string        // of the proposals; empty: none
}

// ObserveReport returns who would be cut off.
func (c *Client) ObserveReport(ctx context.Context, q ObserveQuery) (ObserveReport, error) {
	v := map[string]string{"app": q.App, "owner": q.Owner}
	if q.Since > 0 {
		v["since"] = q.Since.String()
	}
	return get[ObserveReport](ctx, c, at("observe", "report"), values(v))
}
