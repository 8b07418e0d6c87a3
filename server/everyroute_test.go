package server_test

import (
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
)

// TestNoRouteIsForgotten calls each route of the document as nobody, as a person without
// any right and as a workload that policy does not know: about what is somebody else's,
// where a route names something. A route that is missing here fails.
func TestNoRouteIsForgotten(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.session("alice", "support"), w.session("bob", "payments-leads")
	asked := func() api.Request {
		return read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk}), 201)
	}
	granted, pending := asked(), asked()
	offer := `{"offer_sha256":"` + granted.Offer.SHA256 + `"}`
	granted = read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests/" + granted.ID + "/approve", session: bob, body: offer}), 200)
	type row struct {
		id, body         string
		person, workload int
	}
	pend := `{"offer_sha256":"` + pending.Offer.SHA256 + `"}`
	routes := map[string]row{
		"GET /api/v1/requests":                {person: 200, workload: 200},
		"POST /api/v1/requests":               {body: goodAsk, person: 201, workload: 201},
		"GET /api/v1/requests/{id}":           {id: pending.ID, person: 404, workload: 404},
		"POST /api/v1/requests/{id}/approve":  {id: pending.ID, body: pend, person: 403, workload: 403},
		"POST /api/v1/requests/{id}/deny":     {id: pending.ID, body: pend, person: 403, workload: 403},
		"POST /api/v1/requests/{id}/withdraw": {id: pending.ID, body: `{}`, person: 404, workload: 404},
		"GET /api/v1/grants":                  {person: 200, workload: 200},
		"GET /api/v1/grants/{id}":             {id: granted.Grant, person: 404, workload: 404},
		"POST /api/v1/grants/{id}/revoke":     {id: granted.Grant, body: `{"reason":"x"}`, person: 404, workload: 404},
		"POST /api/v1/grants/{id}/finish":     {id: granted.Grant, body: `{}`, person: 404, workload: 404},
		"GET /api/v1/grants/{id}/receipts":    {id: granted.Grant, person: 404, workload: 404},
		"GET /api/v1/grants/{id}/reach":       {id: granted.Grant, person: 404, workload: 404},
		"GET /api/v1/denials/{id}":            {id: "den_01JZZZZZZZZZZZZZZZZZZZZZZZ", person: 404, workload: 404},
		"GET /api/v1/nodes":                   {person: 403, workload: 403},
		"GET /api/v1/workloads":               {person: 403, workload: 403},
		"GET /api/v1/observe/report":          {person: 403, workload: 403},
		"GET /api/v1/trace/{id}":              {id: granted.Grant, person: 404, workload: 404},
		"GET /api/v1/explain/{id}":            {id: pending.ID, person: 404, workload: 404},
		"GET /api/v1/entitlements":            {person: 200, workload: 200},
		"GET /api/v1/whoami":                  {person: 200, workload: 200},
		"GET /api/v1/audit/export":            {person: 403, workload: 403},
		"POST /api/v1/nodes/quarantine":       {body: `{"sidecar":"spiffe://acme.example/gw/sidecar","reason":"x"}`, person: 403, workload: 403},
		"POST /api/v1/nodes/release":          {body: `{"sidecar":"spiffe://acme.example/gw/sidecar"}`, person: 403, workload: 403},
		"GET /api/v1/keys":                    {person: 403, workload: 403},
		"POST /api/v1/keys/rotate":            {body: `{}`, person: 403, workload: 403},
		"POST /api/v1/keys/remove":            {body: `{"kid":"x"}`, person: 403, workload: 403},
		"GET /api/v1/locks":                   {person: 403, workload: 403},
		"POST /api/v1/locks":                  {body: `{"target":"alice","reason":"x"}`, person: 403, workload: 403},
		"GET /api/v1/policy":                  {person: 200, workload: 403},
		"POST /api/v1/policy/hold":            {body: `{"commit":"0000000","for":"1h"}`, person: 403, workload: 403},
		"POST /api/v1/locks/lift":             {body: `{"target":"alice"}`, person: 403, workload: 403},
		"POST /api/v1/policy/plan":            {body: `{"files":{}}`, person: 403, workload: 403},
		"POST /api/v1/policy/replay":          {body: `{"files":{},"since":"2026-01-01T00:00:00.000000Z"}`, person: 403, workload: 403},
		"GET /api/v1/policy/log":              {person: 403, workload: 403},
		"POST /api/v1/logout":                 {person: 204, workload: 404},
	}
	cert := w.svid("/ns/foreign/sa/stranger")
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			if !strings.HasPrefix(path, "/api/v1/") || path == "/api/v1/openapi.json" { // which is public
				continue
			}
			name := method + " " + path
			c, ok := routes[name]
			if !ok {
				t.Errorf("%s: say who may call it", name)
				continue
			}
			a := ask{method: method, path: strings.ReplaceAll(path, "{id}", c.id), body: c.body}
			if got := w.do(a).Code; got != 401 {
				t.Errorf("%s: nobody is answered %d", name, got)
			}
			a.session = w.session("erin")
			person := w.do(a)
			a.session, a.cert = "", &cert
			workload := w.do(a)
			if person.Code != c.person || workload.Code != c.workload {
				t.Errorf("%s: a person without rights is answered %d, want %d, a foreign workload %d, want %d", name, person.Code, c.person, workload.Code, c.workload)
			}
			for _, body := range []string{person.Body.String(), workload.Body.String()} {
				if strings.Contains(body, granted.Grant+`","`) || strings.Contains(body, "alice") {
					t.Errorf("%s tells what is alice's: %s", name, body)
				}
			}
		}
	}
}
