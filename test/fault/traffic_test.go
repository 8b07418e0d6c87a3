package fault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	readers, writers, payers = 5, 2, 4                // connections that stay busy
	pace                     = 40 * time.Millisecond  // of each
	askPace                  = 250 * time.Millisecond // of the one who asks
)

// traffic is several callers that do not stop for anything.
type traffic struct {
	e        *env.Env
	refunder *env.Caller // two callers on connections that they keep
	reporter *env.Caller

	mu      sync.Mutex
	allowed map[string]int // by lane
	refused map[string]int // by lane and code
	// What mayflyd has said that it did: nothing acknowledged may be lost.
	made, finished []string

	done sync.WaitGroup
	// road is held to read for each call, and whole while there are to be none.
	road sync.RWMutex
}

// world is a product under traffic, with the people and workloads that ask.
type world struct {
	*env.Env
	gw       *env.Gateway
	bob      *api.Client // payments-leads and security
	refunder *api.Client
	reporter *api.Client
	*traffic
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return populate(t, start)
}

// populate is newWorld over a product that is started by start.
func populate(t *testing.T, start func(testing.TB) (*env.Env, *env.Gateway)) *world {
	t.Helper()
	w := &world{}
	w.Env, w.gw = start(t)
	w.bob = check[*api.Client](t)(w.Person(t.Context(), "bob"))
	w.refunder = check[*api.Client](t)(w.WorkloadAPIClient(t.Context(), "refunder"))
	w.reporter = check[*api.Client](t)(w.WorkloadAPIClient(t.Context(), "reporter"))
	w.traffic = &traffic{e: w.Env, allowed: map[string]int{}, refused: map[string]int{}}
	w.traffic.refunder = w.caller(t, "refunder")
	w.traffic.reporter = w.caller(t, "reporter")
	return w
}

func (w *world) caller(t testing.TB, name string) *env.Caller {
	t.Helper()
	c := check[*env.Caller](t)(w.Caller(t.Context(), name, w.gw))
	t.Cleanup(c.Close)
	return c
}

// mayRead and mayRefund make grants and return them live on the gateway's word.
func (w *world) mayRead(t testing.TB, who *api.Client, folder string, d time.Duration) api.Grant {
	t.Helper()
	return w.grant(t, who, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": folder}, Duration: d.String()})
}

func (w *world) mayRefund(t testing.TB, charge string, d time.Duration) api.Grant {
	t.Helper()
	return w.grant(t, w.refunder, api.Ask{
		Entitlement: "stripe/refunds", Params: map[string]string{"charge": charge, "amount_max": "5000"}, Duration: d.String(), Reason: "order 17",
	})
}

func (w *world) grant(t testing.TB, who *api.Client, ask api.Ask) api.Grant {
	t.Helper()
	g := check[api.Grant](t)(w.Grant(t.Context(), who, w.bob, ask))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made = append(w.made, g.ID)
	return g
}

// run begins the traffic, which ends with ctx. Each worker keeps to its pace, and waits for an answer.
func (r *traffic) run(ctx context.Context) {
	for i := range readers {
		r.worker(ctx, pace, "read", func(n int) answer { return read(ctx, r.reporter, fmt.Sprintf("/daily/%d/%d", i, n)) })
	}
	for i := range writers {
		r.worker(ctx, pace, "write", func(n int) answer { return write(ctx, r.reporter, fmt.Sprintf("/daily/%d/%d", i, n)) })
	}
	for range payers {
		r.worker(ctx, pace, "money", func(n int) answer { return refund(ctx, r.refunder, "ch_1", 1+n%5000) })
	}
}

func (r *traffic) worker(ctx context.Context, pace time.Duration, lane string, try func(n int) answer) {
	r.done.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			r.road.RLock()
			if a := try(n); ctx.Err() == nil {
				r.note(lane, a)
			}
			r.road.RUnlock()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
}

// ask keeps asking for grants and finishing them, whoever is dead. Each ask has
// its key, so that one without an answer can be made again.
func (r *traffic) ask(ctx context.Context, client *api.Client) {
	key, grant := api.NewKey(), ""
	r.worker(ctx, askPace, "ask", func(n int) answer {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if grant != "" {
			// The answer may have been lost with the one who gave it.
			if _, err := client.Finish(ctx, grant); err != nil && answerOf(err).code != "ended" {
				return answerOf(err)
			}
			r.acknowledged(&r.finished, grant)
			grant = ""
		}
		made, err := client.Request(ctx, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": "/monthly/asked"}, Duration: "10m0s"}, key)
		if err != nil {
			return answerOf(err)
		}
		r.acknowledged(&r.made, made.Grant)
		key, grant = api.NewKey(), made.Grant
		return answer{allowed: true}
	})
}

// answerOf is a refusal of the API: its code, or "cut".
func answerOf(err error) answer {
	var p *api.Problem
	if errors.As(err, &p) {
		return answer{code: p.Code, detail: p.Detail}
	}
	return answer{code: "cut", detail: err.Error()}
}

func (r *traffic) acknowledged(list *[]string, grant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, grant)
}

func (r *traffic) note(lane string, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.allowed {
		r.allowed[lane]++
	} else {
		r.refused[lane+" "+a.code]++
	}
}

func (r *traffic) passed(lanes ...string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, lane := range lanes {
		n += r.allowed[lane]
	}
	return n
}

// resumed waits until all lanes pass again, and returns how long that took.
func (r *traffic) resumed(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	for _, lane := range []string{"read", "write", "money"} {
		before := r.passed(lane)
		eventually(t, lane+" traffic resumes", func() error {
			if now := r.passed(lane); now < before+3 {
				return fmt.Errorf("%d passed since: %s", now-before, r.table())
			}
			return nil
		})
	}
	return time.Since(began)
}

// table is what the callers saw.
func (r *traffic) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for what, counts := range map[string]map[string]int{"allowed": r.allowed, "refused": r.refused} {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(w, "%s\t%s\t%d\n", what, name, counts[name])
		}
	}
	_ = w.Flush()
	return b.String()
}
