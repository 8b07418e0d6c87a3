package access_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// broken is a context with which the store refuses one statement, the n-th: it asks
// before each whether the context has ended. So one statement of a verb fails, a read
// or a write, and all others are as they were.
type broken struct {
	context.Context
	left int
	hit  bool
}

func (c *broken) Err() error {
	if c.left--; c.left == 0 {
		c.hit = true
		return errDisk
	}
	return nil
}

// onlooker sees whether anything in a world's database changes, by a connection of its own.
type onlooker struct {
	w       *world
	conn    *sql.Conn
	version int64 // of SQLite: another one after each commit of anybody else
	rows    [32]byte
}

func (w *world) onlooker() *onlooker {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.path+"?mode=ro")
	ok(w.t, err)
	conn, err := db.Conn(w.t.Context())
	ok(w.t, err)
	w.t.Cleanup(func() { _, _ = conn.Close(), db.Close() })
	o := &onlooker{w: w, conn: conn}
	o.version, o.rows = o.versionNow(), o.rowsNow()
	return o
}

// changed reports whether anything is another than it was at first.
func (o *onlooker) changed() bool {
	o.w.t.Helper()
	if v := o.versionNow(); v != o.version {
		o.version = v
		return o.rowsNow() != o.rows
	}
	return false
}

func (o *onlooker) versionNow() (v int64) {
	o.w.t.Helper()
	ok(o.w.t, o.conn.QueryRowContext(o.w.t.Context(), `PRAGMA data_version`).Scan(&v))
	return v
}

func (o *onlooker) rowsNow() [32]byte {
	t, ctx, sum := o.w.t, o.w.t.Context(), sha256.New()
	t.Helper()
	for _, table := range o.tables() {
		list, err := o.conn.QueryContext(ctx, `SELECT * FROM `+table)
		ok(t, err)
		columns, err := list.Columns()
		ok(t, err)
		row, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		for list.Next() {
			ok(t, list.Scan(into...))
			for _, column := range row {
				sum.Write(column)
				sum.Write([]byte{0})
			}
		}
		ok(t, list.Err())
	}
	return [32]byte(sum.Sum(nil))
}

func (o *onlooker) tables() []string {
	t := o.w.t
	t.Helper()
	names, err := o.conn.QueryContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`)
	ok(t, err)
	defer func() { _ = names.Close() }()
	var out []string
	for names.Next() {
		var name string
		ok(t, names.Scan(&name))
		out = append(out, name)
	}
	ok(t, names.Err())
	return out
}

// call is a verb that is ready to be called, as often as it fails.
type call func(ctx context.Context) error

// returns makes a call of a verb whose answer does not matter.
func returns[T any](f func(ctx context.Context) (T, error)) call {
	return func(ctx context.Context) error { _, err := f(ctx); return err }
}

// verbs are the public verbs that change something, each where it has much to do.
func verbs() map[string]func(t *testing.T) (*world, call) {
	plain := func(make func(w *world) call) func(t *testing.T) (*world, call) {
		return func(t *testing.T) (*world, call) { w := newWorld(t); return w, make(w) }
	}
	withTokens := func(make func(w *world) call) func(t *testing.T) (*world, call) {
		return func(t *testing.T) (*world, call) { w := tokenWorld(t); return w, make(w) }
	}
	withPeople := func(make func(w *world) call) func(t *testing.T) (*world, call) {
		return func(t *testing.T) (*world, call) { w := peopleWorld(t); return w, make(w) }
	}
	return map[string]func(t *testing.T) (*world, call){
		"Request, repeated": plain(func(w *world) call {
			a := refund()
			a.IdempotencyKey = "once"
			return returns(func(ctx context.Context) (access.Request, error) { return w.Request(ctx, w.as(alice), a) })
		}),
		"Request, by rule": plain(func(w *world) call {
			return returns(func(ctx context.Context) (access.Request, error) { return w.Request(ctx, w.as(carol), reports()) })
		}),
		"Request, denied": plain(func(w *world) call {
			return returns(func(ctx context.Context) (access.Request, error) {
				return w.Request(ctx, w.as(alice), access.Ask{Entitlement: "stripe/refunds", Params: refund().Params, Duration: 3 * time.Hour, Reason: "x"})
			})
		}),
		"Approve": plain(func(w *world) call {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			return returns(func(ctx context.Context) (access.Request, error) {
				return w.Approve(ctx, w.as(bob), r.ID, r.OfferDigest, "yes")
			})
		}),
		"Deny": plain(func(w *world) call {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			return returns(func(ctx context.Context) (access.Request, error) { return w.Deny(ctx, w.as(bob), r.ID, "no") })
		}),
		"Withdraw": plain(func(w *world) call {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			return returns(func(ctx context.Context) (access.Request, error) { return w.Withdraw(ctx, w.as(refunder), r.ID) })
		}),
		"Expire": plain(func(w *world) call {
			w.ask(w.as(refunder), refund(), access.Pending)
			w.pass(20 * time.Minute)
			return returns(w.Expire)
		}),
		"Revoke": plain(func(w *world) call {
			r := w.granted()
			w.join("1")
			return returns(func(ctx context.Context) (access.Revocation, error) {
				return w.Revoke(ctx, w.as(dave), r.Grant, "over")
			})
		}),
		"Lock": plain(func(w *world) call {
			w.loggedIn(access.SessionAPI, alice)
			r := w.ask(w.as(alice), refund(), access.Pending)
			must(w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, ""))
			w.ask(w.as(aliceAdmin), refund(), access.Pending)
			return returns(func(ctx context.Context) (access.Locked, error) {
				return w.Lock(ctx, w.as(dave), alice, "a lost laptop")
			})
		}),
		"Unlock": plain(func(w *world) call {
			w.lock(alice)
			w.mayUnlock()
			return returns(func(ctx context.Context) (access.Locked, error) { return w.Unlock(ctx, w.as(dave), alice) })
		}),
		"Quarantine": plain(func(w *world) call {
			return returns(func(ctx context.Context) (access.Quarantine, error) {
				return w.Quarantine(ctx, w.as(dave), gateway, "strange")
			})
		}),
		"Release": plain(func(w *world) call {
			must(w.Quarantine(w.t.Context(), w.as(dave), gateway, "strange"))
			w.mayUnlock()
			return func(ctx context.Context) error { return w.Release(ctx, w.as(dave), gateway, "") }
		}),
		"RefusePolicy": plain(func(w *world) call {
			return func(ctx context.Context) error { return w.RefusePolicy(ctx, "c0ffee", "unsigned", "nobody signed it") }
		}),
		"SawPolicy": plain(func(w *world) call {
			ok(w.t, w.LostPolicy(w.t.Context()))
			return func(ctx context.Context) error { return w.SawPolicy(ctx, w.commit) }
		}),
		"LostPolicy": plain(func(w *world) call {
			ok(w.t, w.SawPolicy(w.t.Context(), w.commit))
			return w.LostPolicy
		}),
		"FirstAdministrator": plain(func(w *world) call {
			return returns(func(ctx context.Context) (bool, error) {
				return w.FirstAdministrator(ctx, principal(w.t, erin), time.Hour)
			})
		}),
		"Recover": plain(func(w *world) call {
			w.granted()
			w.loggedIn(access.SessionAPI, carol)
			lost := w.ahead()
			return returns(func(ctx context.Context) (access.Recovered, error) { return w.Recover(ctx, [][]byte{lost}) })
		}),
		"NewSession": plain(func(w *world) call {
			return func(ctx context.Context) error {
				_, _, err := w.NewSession(ctx, access.Login{
					Kind: access.SessionConsole, Principal: principal(w.t, carol), Name: "Carol", Email: "carol@acme.example",
					Groups: groupsOf(w.t, "engineers"), Refresh: []byte("r"), AuthTime: w.clock(),
				})
				return err
			}
		}),
		"EndSessions": plain(func(w *world) call {
			w.loggedIn(access.SessionAPI, carol)
			w.loggedIn(access.SessionConsole, carol)
			return returns(func(ctx context.Context) (int, error) { return w.EndSessions(ctx, w.as(carol)) })
		}),
		"LogoutAt": withPeople(func(w *world) call {
			w.enter(w.console(alice, "sid-1"), reportsHost, 'a')
			return returns(func(ctx context.Context) (int, error) {
				return w.LogoutAt(ctx, access.ProviderLogout{IDP: "idp", Subject: "alice", Session: "sid-1"})
			})
		}),
		"HandOver": withPeople(func(w *world) call {
			s := w.console(alice, "")
			return returns(func(ctx context.Context) (string, error) {
				return w.HandOver(ctx, access.CallerOf(s), access.HandOver{App: "reports", Host: reportsHost, State: state(1)})
			})
		}),
		"Redeem": withPeople(func(w *world) call {
			ask := w.handOver(w.console(alice, ""), reportsHost, 'a')
			return returns(func(ctx context.Context) (*feed.SessionResponse, error) {
				return w.Source().Redeem(ctx, w.instance("1"), ask)
			})
		}),
		"EndSession, at an app": withPeople(func(w *world) call {
			w.enter(w.console(alice, ""), reportsHost, 'a')
			return returns(func(ctx context.Context) (*feed.EndSessionResponse, error) {
				return w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "reports", Hash: secret('a')})
			})
		}),
		"RedeemCode": plain(func(w *world) call {
			w.keepCode("of carol")
			return func(ctx context.Context) error {
				_, _, err := w.RedeemCode(ctx, aCode, func([]byte) (access.Login, error) {
					return access.Login{Kind: access.SessionAPI, Principal: principal(w.t, carol), ProofKey: [32]byte{1}}, nil
				})
				return err
			}
		}),
		"TakeLogin": plain(func(w *world) call {
			ok(w.t, w.PutLogin(w.t.Context(), "key", []byte("x"), time.Minute))
			return returns(func(ctx context.Context) ([]byte, error) { return w.TakeLogin(ctx, "key") })
		}),
		"KeepTokenKeys, first": plain(func(w *world) call { return w.KeepTokenKeys }),
		"KeepTokenKeys, due": plain(func(w *world) call {
			w.keep()
			w.pass(access.DefaultKeyRotation)
			return w.KeepTokenKeys
		}),
		"KeepTokenKeys, over": plain(func(w *world) call {
			w.keep()
			w.pass(access.DefaultKeyRotation)
			w.keep()
			w.pass(time.Hour)
			return w.KeepTokenKeys
		}),
		"IssueToken, of a session": withTokens(func(w *world) call {
			_, s := w.loggedIn(access.SessionAPI, carol)
			w.has(carol, "shop", "", time.Hour)
			a := access.TokenAsk{Subject: s.Principal, Proof: access.ProofSession, Session: s.ID, ClientID: "mayfly", Confirm: certificate(), Resource: shopURL}
			return returns(func(ctx context.Context) (access.IssuedToken, error) { return w.IssueToken(ctx, a) })
		}),
		"IssueToken, of an ID token": withTokens(func(w *world) call {
			w.has(carol, "shop", "", time.Hour)
			a := access.TokenAsk{
				Subject: principal(w.t, carol), Proof: access.ProofIDToken, ClientID: "mayfly", Confirm: certificate(), Resource: shopURL,
				Once: "id_token:abc", OnceEnds: w.clock().Add(5 * time.Minute),
			}
			return returns(func(ctx context.Context) (access.IssuedToken, error) { return w.IssueToken(ctx, a) })
		}),
		"IssueToken, by exchange": withTokens(func(w *world) call {
			w.has(client, "shop", "", time.Hour)
			w.has(client, "stock", "", time.Hour)
			c := w.token(w.svidAsk(client, "shop"))
			a := access.TokenAsk{Subject: c.Subject, Proof: access.ProofToken, Token: &c, Actor: principal(w.t, workloadOf("shop")), ClientID: workloadOf("shop"), Confirm: certificate(), Until: c.Expires, Resource: resourceOf("stock")}
			return returns(func(ctx context.Context) (access.IssuedToken, error) { return w.IssueToken(ctx, a) })
		}),
		"RevokeToken": withTokens(func(w *world) call {
			w.has(client, "shop", "", time.Hour)
			c := w.token(w.svidAsk(client, "shop"))
			return func(ctx context.Context) error { return w.RevokeToken(ctx, c.Subject, c) }
		}),
		"RecordRefusals": plain(func(w *world) call {
			return func(ctx context.Context) error {
				return w.RecordRefusals(ctx, []access.TokenRefusal{{Principal: principal(w.t, carol), Code: "invalid_target", Route: "token", Count: 1}})
			}
		}),
		"Join": plain(func(w *world) call {
			return returns(func(ctx context.Context) ([]string, error) {
				return w.Source().Join(ctx, w.instance("1"), &feed.Subscribe{Version: "v"})
			})
		}),
		"Beat": plain(func(w *world) call {
			i := w.join("1")
			w.pass(time.Second)
			return returns(func(ctx context.Context) (feed.Pulse, error) {
				return w.Source().Beat(ctx, []feed.Beat{{Instance: i, Ping: &feed.Ping{Nonce: "n"}}})
			})
		}),
		"Acknowledge": plain(func(w *world) call {
			i := w.join("1")
			r := w.granted()
			must(w.Revoke(w.t.Context(), w.as(dave), r.Grant, ""))
			at := w.head()
			return func(ctx context.Context) error {
				return w.Source().Acknowledge(ctx, []feed.Receipt{{Instance: i, At: at}})
			}
		}),
		"Ingest": plain(func(w *world) call {
			w.join("1")
			r, s := w.granted(), newSpool(w.t)
			action, intent := s.intent(r)
			seg := s.segment(intent, audit.Outcome{Action: action.String(), Result: "sent", Status: 200})
			return returns(func(ctx context.Context) (*feed.IngestResponse, error) {
				return w.Source().Ingest(ctx, w.instance("1"), seg)
			})
		}),
		"Reserve": plain(func(w *world) call {
			i, r, s := w.join("1"), w.granted(), newSpool(w.t)
			action, _ := s.intent(r)
			return returns(func(ctx context.Context) (*feed.ReserveResponse, error) {
				return w.Source().Reserve(ctx, i, &feed.ReserveRequest{Action: action.String(), Grant: r.Grant.String(), Class: "money", Calls: 1, Spool: s.id, Seq: 1, FrameSha256: make([]byte, 32)})
			})
		}),
	}
}

// One statement of a verb fails, each in its turn: the verb says so and has done
// nothing, nothing at all, and the next try does it.
func TestAVerbThatFailsHasDoneNothing(t *testing.T) {
	for name, ready := range verbs() {
		t.Run(name, func(t *testing.T) {
			w, do := ready(t)
			o, wakes := w.onlooker(), w.woken()
			n := 1
			for ; ; n++ {
				ctx := &broken{Context: t.Context(), left: n}
				err := do(ctx)
				if !ctx.hit {
					ok(t, err)
					break
				}
				if !errors.Is(err, errDisk) {
					t.Errorf("statement %d failed: %v", n, err)
				}
				if o.changed() || w.woken() != wakes {
					t.Fatalf("statement %d failed, and something was done", n)
				}
			}
			if n < 3 || !o.changed() {
				t.Errorf("%d statements, and then nothing was done", n)
			}
		})
	}
}

// readers are the public verbs that only tell, in a world with something in it: a grant
// that was used, at an instance.
func readers(w *world, r access.Request) map[string]call {
	return map[string]call{
		"ShowRequest": returns(func(ctx context.Context) (access.RequestView, error) { return w.ShowRequest(ctx, w.as(bob), r.ID) }),
		"ShowGrant":   returns(func(ctx context.Context) (access.GrantView, error) { return w.ShowGrant(ctx, w.as(refunder), r.Grant) }),
		"Requests": returns(func(ctx context.Context) ([]access.Request, error) {
			return w.Requests(ctx, w.as(dave), access.ListRequests{Everyone: true})
		}),
		"Grants": returns(func(ctx context.Context) ([]access.GrantView, error) {
			return w.Grants(ctx, w.as(dave), access.ListGrants{Everyone: true})
		}),
		"Waiting": func() call {
			w.ask(w.as(alice), refund(), access.Pending)
			return returns(func(ctx context.Context) ([]access.RequestView, error) { return w.Waiting(ctx, w.as(bob)) })
		}(),
		"Nodes": returns(func(ctx context.Context) (access.NodesView, error) { return w.Nodes(ctx, w.as(dave)) }),
		"Workloads": func() call {
			w.SawWorkload(w.t.Context(), principal(w.t, refunder))
			return returns(func(ctx context.Context) ([]access.WorkloadView, error) {
				return w.Workloads(ctx, w.as(dave), access.ListWorkloads{})
			})
		}(),
		"Keys": func() call {
			w.keep()
			return returns(func(ctx context.Context) ([]access.TokenKeyView, error) { return w.Keys(ctx, w.as(dave)) })
		}(),
		"TokenKeys": func() call {
			w.keep()
			return func(ctx context.Context) error { _, err := w.TokenKeys(ctx); return err }
		}(),
		"Preview":             returns(func(ctx context.Context) (access.Preview, error) { return w.Preview(ctx, w.as(alice), refund()) }),
		"Choices":             returns(func(ctx context.Context) ([]access.Choice, error) { return w.Choices(ctx, w.as(alice)) }),
		"Reach":               returns(func(ctx context.Context) (access.Reach, error) { return w.Reach(ctx, w.as(refunder), r.Grant) }),
		"Trace, of a request": returns(func(ctx context.Context) (access.Trace, error) { return w.Trace(ctx, w.as(refunder), r.ID.String()) }),
		"Trace, of a grant":   returns(func(ctx context.Context) (access.Trace, error) { return w.Trace(ctx, w.as(refunder), r.Grant.String()) }),
		"Explain, of a request": returns(func(ctx context.Context) (access.Explanation, error) {
			return w.Explain(ctx, w.as(refunder), r.ID.String())
		}),
		"Explain, of a grant": returns(func(ctx context.Context) (access.Explanation, error) {
			return w.Explain(ctx, w.as(refunder), r.Grant.String())
		}),
		"Explain, of a denial": func() call {
			id := w.refusal(newSpool(w.t), grant.ConstraintUnmet, nil)
			return returns(func(ctx context.Context) (access.Explanation, error) { return w.Explain(ctx, w.as(refunder), id) })
		}(),
		"FromDenial": func() call {
			var id grant.DenialID
			ok(w.t, id.UnmarshalText([]byte(w.refusal(newSpool(w.t), grant.NoGrant, nil))))
			return returns(func(ctx context.Context) (access.Suggestion, error) { return w.FromDenial(ctx, w.as(refunder), id) })
		}(),
		"Rederive":      returns(func(ctx context.Context) ([]access.ExplainedDecision, error) { return w.Rederive(ctx, r.ID) }),
		"Policy":        func(ctx context.Context) error { _, err := w.Policy(ctx); return err },
		"NextSigners":   func(ctx context.Context) error { _, _, err := w.NextSigners(ctx); return err },
		"Settling":      returns(w.Settling),
		"PolicyAlarms":  returns(w.PolicyAlarms),
		"PolicyNotices": returns(w.PolicyNotices),
		"LogPolicy": returns(func(ctx context.Context) (access.PolicyLog, error) {
			return w.LogPolicy(ctx, w.as(dave), "stripe/refunds")
		}),
		"PlanPolicy": func() call {
			files := w.with(refundsFile, "max: 2h", "max: 1h")
			w.ask(w.as(alice), refund(), access.Pending)
			return returns(func(ctx context.Context) (access.Plan, error) { return w.PlanPolicy(ctx, w.as(dave), files) })
		}(),
		"ReplayPolicy": func() call {
			files := w.with(refundsFile, "max: 2h", "max: 1h")
			return returns(func(ctx context.Context) (access.ReplaySum, error) {
				return w.ReplayPolicy(ctx, w.as(dave), files, epoch.Add(-time.Hour), func(access.ReplayStep) error { return nil })
			})
		}(),
		"Observations": returns(w.Observations),
		"Session": func() call {
			secret, _ := w.loggedIn(access.SessionAPI, carol)
			return returns(func(ctx context.Context) (access.Session, error) { return w.Session(ctx, access.SessionAPI, secret) })
		}(),
		"Changes": func(ctx context.Context) error {
			_, _, err := w.Source().Changes(ctx, feed.Position{Epoch: 1}, feed.Newest())
			return err
		},
		"Head": returns(w.Source().Head),
	}
}

// readersApart are those that need a world of their own.
func readersApart() map[string]func(t *testing.T) (*world, call) {
	return map[string]func(t *testing.T) (*world, call){
		"Revocation": reading(func(w *world, r access.Request) call {
			must(w.Revoke(w.t.Context(), w.as(dave), r.Grant, ""))
			return returns(func(ctx context.Context) (access.RevocationView, error) {
				return w.Revocation(ctx, w.as(dave), r.Grant)
			})
		}),
		"Locks": reading(func(w *world, _ access.Request) call {
			w.lock(alice)
			return returns(func(ctx context.Context) ([]access.Locked, error) { return w.Locks(ctx, w.as(dave)) })
		}),
		"ObserveReport": reading(func(w *world, _ access.Request) call {
			w.observe()
			s := newSpool(w.t)
			w.ship(s, tried(s, shop, "refunds.create", "no_grant", grant.GrantID{}, values("charge", "ch_7")))
			return returns(func(ctx context.Context) (access.ObserveReport, error) {
				return w.ObserveReport(ctx, w.as(dave), access.ObserveQuery{App: "stripe", Owner: "team-payments"})
			})
		}),
		"TokenLive": func(t *testing.T) (*world, call) {
			w := tokenWorld(t)
			w.has(client, "shop", "", time.Hour)
			c := w.token(w.svidAsk(client, "shop"))
			return w, func(ctx context.Context) error { _, _, err := w.TokenLive(ctx, c); return err }
		},
		"Assert": func(t *testing.T) (*world, call) {
			w, i, r := asserting(t)
			return w, returns(func(ctx context.Context) (*feed.AssertResponse, error) {
				return w.Source().Assert(ctx, i, &feed.AssertRequest{Grant: r.Grant.String(), Bound: bound()})
			})
		},
		"Snapshot": func(t *testing.T) (*world, call) {
			w := peopleWorld(t)
			w.keep()
			w.granted()
			w.enter(w.console(alice, ""), reportsHost, 'a')
			return w, func(ctx context.Context) error {
				_, err := snapshotOf(ctx, w.Source(), []string{"stripe", "reports"})
				return err
			}
		},
		"Lookup": func(t *testing.T) (*world, call) {
			w := peopleWorld(t)
			w.enter(w.console(alice, ""), reportsHost, 'a')
			return w, returns(func(ctx context.Context) (*feed.SessionResponse, error) {
				return w.Source().Lookup(ctx, w.instance("1"), &feed.LookupRequest{App: "reports", Hash: secret('a')})
			})
		},
		"PolicyStatus": reading(func(w *world, _ access.Request) call {
			ok(w.t, w.LostPolicy(w.t.Context()))
			return returns(func(ctx context.Context) (access.PolicyStatus, error) { return w.PolicyStatus(ctx, w.as(dave)) })
		}),
	}
}

func reading(make func(w *world, r access.Request) call) func(t *testing.T) (*world, call) {
	return func(t *testing.T) (*world, call) { w, r := used(t); return w, make(w, r) }
}

func used(t *testing.T) (*world, access.Request) {
	w := newWorld(t)
	w.join("1")
	r, s := w.granted(), newSpool(t)
	action, intent := s.intent(r)
	w.ship(s, intent, audit.Outcome{Action: action.String(), Result: "sent", Status: 200})
	return w, r
}

// Where one statement fails, nothing is told: half of an answer would read as all of it.
func TestWhatCannotBeReadIsNotToldInPart(t *testing.T) {
	for name, do := range readers(used(t)) {
		t.Run(name, func(t *testing.T) { tellsAllOrNothing(t, do) })
	}
	for name, ready := range readersApart() {
		t.Run(name, func(t *testing.T) {
			_, do := ready(t)
			tellsAllOrNothing(t, do)
		})
	}
}

func tellsAllOrNothing(t *testing.T, do call) {
	t.Helper()
	for n := 1; ; n++ {
		ctx := &broken{Context: t.Context(), left: n}
		err := do(ctx)
		if !ctx.hit {
			ok(t, err)
			if n < 3 {
				t.Errorf("%d statements", n)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("statement %d failed: %v", n, err)
		}
	}
}

// Verbs of several transactions say that one failed. What the ones before it have done
// is done whole, and is not done again.
func TestAVerbOfSeveralTransactionsGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		ready  func(w *world) call
		leaves string // that are there in the end, in any order
	}{
		"Sweep": {func(w *world) call {
			w.join("1")
			w.granted()
			r := w.granted()
			must(w.Revoke(w.t.Context(), w.as(dave), r.Grant, ""))
			w.pass(25 * time.Hour) // of the grant, of the lease and of the instance
			return w.Sweep
		}, "grant.ended grant.receipts instance.gone"},
		"Sweep, of an idle grant": {func(w *world) call {
			w.granted()
			ok(w.t, w.Sweep(w.t.Context()))
			w.pass(16 * time.Minute)
			return w.Sweep
		}, "grant.idle grant.receipts"},
		"Recheck": {func(w *world) call {
			w.loggedIn(access.SessionAPI, carol)
			w.ask(w.as(carol), reports(), access.Approved)
			w.provider.set(func(p *provider) { p.disabled[carol] = true })
			w.pass(recheckT)
			return w.Recheck
		}, "grant.revoked identity.refused session.ended"},
		"ApplyPolicy": {func(w *world) call {
			w.granted()
			w.ask(w.as(refunder), refund(), access.Pending)
			delete(w.files, refundsFile)
			return returns(func(ctx context.Context) (access.PolicyResult, error) {
				return w.ApplyPolicy(ctx, access.PolicyCommit{Files: w.files, Commit: "next", After: w.commit})
			})
		}, "grant.revoked policy.applied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			do := c.ready(w)
			o, before := w.onlooker(), len(w.leaves())
			for n := 1; ; n++ {
				ctx := &broken{Context: t.Context(), left: n}
				err := do(ctx)
				if !ctx.hit {
					ok(t, err)
					break
				}
				// Without an error all is done, or the verb itself looked at the time and did nothing.
				if err != nil && !errors.Is(err, errDisk) || err == nil && name != "Recheck" && !o.changed() {
					t.Errorf("statement %d failed: %v", n, err)
				}
			}
			if got := strings.Fields(w.types(before)); strings.Join(slices.Sorted(slices.Values(got)), " ") != c.leaves {
				t.Errorf("leaves %v, want %s", got, c.leaves)
			}
		})
	}
}
