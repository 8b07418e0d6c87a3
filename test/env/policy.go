package env

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Policy is a policy repository.
type Policy struct {
	Dir string
	now func() time.Time
}

// newPolicy makes an empty repository whose branch is main.
func newPolicy(dir string) (*Policy, error) {
	if _, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}}); err != nil {
		return nil, err
	}
	return &Policy{Dir: dir, now: time.Now}, nil
}

// Commit writes files, by path below policy/, and commits them. An empty text
// removes the file. It returns the commit.
func (p *Policy) Commit(message string, files map[string]string) (string, error) {
	repository, err := git.PlainOpen(p.Dir)
	if err != nil {
		return "", err
	}
	tree, err := repository.Worktree()
	if err != nil {
		return "", err
	}
	for name, text := range files {
		path := filepath.Join(p.Dir, "policy", filepath.FromSlash(name))
		if text == "" {
			if _, err := tree.Remove("policy/" + name); err != nil {
				return "", err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		if _, err := tree.Add("policy/" + name); err != nil {
			return "", err
		}
	}
	hash, err := tree.Commit(message, &git.CommitOptions{
		Author: &object.Signature{Name: "platform", Email: "platform@acme.example", When: p.now()},
	})
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

// Files returns the policy that the environment starts with.
func (e *Env) Files() map[string]string {
	return map[string]string{
		"mayfly.yaml": fmt.Sprintf(`organisation: acme
caps: {grant: 12h, pending_per_principal: 50}
environments: [prod, staging]
trust_domains:
  - {name: acme.example, environments: [prod, staging]}
%sworkloads:
  - {id: "spiffe://acme.example/ns/pay/*", owner: team-payments}
  - {id: "spiffe://acme.example/ns/data/*", owner: team-data}
nodes:
  - {sidecar: "spiffe://acme.example/gw/sidecar", listener: "spiffe://acme.example/gw/listener", role: gateway, apps: [stripe, reports, wiki], environment: prod}
people:
  - {person: alice, accounts: ["user:idp:3f1c7a52"]}
  - {person: bob, accounts: ["user:idp:8b0e41d9"]}
  - {person: carol, accounts: ["user:idp:c2d9f6e3"]}
security: group:idp/security
`, e.partnerInPolicy()),
		"apps/stripe.yaml": fmt.Sprintf(`app: stripe
kind: stripe
owner: team-payments
hosts: [stripe.acme.example]
callers: [services]
upstream: {url: %q}
credential:
  - {operations: ["@read"], secret: stripe-read}
  - {operations: [refunds.create], secret: stripe-refunds}
stale_after: 5s
streams: deadline
`, e.Stripe.URL()),
		"apps/reports.yaml": fmt.Sprintf(`app: reports
kind: web
owner: team-data
hosts: [reports.acme.example]
callers: [services]
upstream: {url: %q}
stale_after: 5s
streams: deadline
`, e.Reports.URL()),
		"apps/wiki.yaml": fmt.Sprintf(`app: wiki
kind: web
owner: team-docs
hosts: [wiki.acme.example]
callers: [people]
identity:
  headers: {email: x-auth-email, principal: x-auth-user, groups: x-auth-groups}
upstream: {url: %q}
stale_after: 5s
streams: deadline
`, e.Wiki.URL()),
		"entitlements/wiki/read.yaml": `entitlement: wiki/read
owner: team-docs
app: wiki
allow:
  - {operations: [http.get, http.head]}
sensitivity: read
grant: {max: 8h, default: 30m}
request:
  who: [group:idp/support]
  for: [self]
  justification: none
approve:
  auto: {when: "request.duration <= duration('30m')"}
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 4h}
`,
		"entitlements/wiki/write.yaml": `entitlement: wiki/write
owner: team-docs
app: wiki
allow:
  - {operations: [http.get, http.head, http.post, http.put, http.delete]}
sensitivity: write
grant: {max: 2h, default: 30m}
request:
  who: [group:idp/support]
  for: [self]
  justification: text
approve:
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 20m}
`,
		"entitlements/stripe/refunds.yaml": `entitlement: stripe/refunds
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $amount_max}}}
  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  amount_max: {type: minor_units, required: true, min: 1, max: 50000}
sensitivity: money
grant: {max: 2h, default: 30m}
request:
  who: [group:idp/support, "spiffe://acme.example/ns/pay/sa/refunder"]
  for: [self]
  justification: text
approve:
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 20m}
tests:
  - {as: alice, groups: [idp/support], ask: {charge: ch_1, amount_max: 10000}, expect: approval}
  - {as: alice, groups: [idp/support], ask: {duration: 3h, charge: ch_1, amount_max: 10000}, expect: denied, because: max_duration}
`,
		"entitlements/mayfly/investigate.yaml": `entitlement: mayfly/investigate
owner: team-security
app: mayfly
allow:
  - {operations: [traces.read]}
grant: {max: 4h, default: 1h}
request: {who: [group:idp/security], for: [self], justification: text}
approve: {auto: {when: "request.duration <= duration('1h')"}}
`,
		"entitlements/mayfly/operate.yaml": `entitlement: mayfly/operate
owner: team-security
app: mayfly
allow:
  - {operations: [principals.unlock, nodes.release]}
sensitivity: admin
grant: {max: 1h, default: 30m}
request: {who: [group:idp/security], for: [self], justification: text}
approve: {steps: [{any: [group:idp/payments-leads], count: 1, within: 1h}]}
`,
		"entitlements/reports/read.yaml": `entitlement: reports/read
owner: team-data
app: reports
allow:
  - {operations: [http.get, http.head], where: {path: {under: $folder}}}
params:
  folder: {type: path, any: true, pattern: "/(daily|monthly)(/.*)?"}
sensitivity: read
grant: {max: 8h, default: 30m}
request:
  who: ["spiffe://acme.example/ns/pay/sa/refunder", "spiffe://acme.example/ns/data/sa/reporter"]
  for: [self]
  justification: none
approve:
  auto: {when: "request.duration <= duration('30m')"}
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 4h}
`,
	}
}
