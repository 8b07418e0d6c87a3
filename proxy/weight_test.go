package proxy

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
)

// grantBytes is what one grant may cost of a gateway's heap (docs/performance.md).
const grantBytes = 400

// manyGrants are of n/10 principals on 200 apps; two parameters of each are its own.
func manyGrants(n int) []*feed.Resource {
	mint, out := grant.NewMinter(), make([]*feed.Resource, n)
	for i := range out {
		who, app := i%(n/10), fmt.Sprintf("app-%d", i%200)
		charge := []*feed.Value{{Type: "string", Value: fmt.Sprintf("ch_%014d", i)}}
		amount := []*feed.Value{{Type: "minor_units", Value: fmt.Sprint(100 + i)}}
		out[i] = &feed.Resource{Id: mint.NewGrantID(noon()).String(), MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
			Request: mint.NewRequestID(noon()).String(), Principal: fmt.Sprintf("spiffe://acme.example/ns/pay/sa/worker-%06d", who),
			Pseudonym: fmt.Sprintf("p_%032d", who), App: app, Entitlement: app + "/refunds", Class: "money",
			NotBeforeUs: noon().UnixMicro(), NotAfterUs: noon().Add(time.Hour).UnixMicro(),
			Rules: []*feed.Rule{
				{Operation: "refunds.create", Where: []*feed.Constraint{{Attribute: "charge", Op: "is", Values: charge}, {Attribute: "amount", Op: "max", Values: amount}}},
				{Operation: "charges.retrieve", Where: []*feed.Constraint{{Attribute: "charge", Op: "is", Values: charge}}},
			},
		}}}
	}
	return out
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A gateway that fronts much is told of many grants, and few of them are ever used.
func TestAGrantCostsFewBytes(t *testing.T) {
	const grants, part = 20_000, 5_000
	for name, tell := range map[string]func(m *memory, all []*feed.Resource){
		"by a snapshot": func(m *memory, all []*feed.Resource) { m.swap(all...); m.pong(m.machine.plane()) },
		"by deltas": func(m *memory, all []*feed.Resource) {
			m.swap()
			m.pong(m.machine.plane())
			for ; len(all) > 0; all = all[part:] {
				m.add(all[:part]...)
			}
		},
		"by a snapshot of what is held": func(m *memory, all []*feed.Resource) {
			m.swap(all...)
			m.pong(m.machine.plane())
			m.swap(all...)
		},
	} {
		m, before := newMemory(t), heapInUse()
		all := manyGrants(grants)
		tell(m, all)
		all = nil
		each := float64(heapInUse()-before) / grants
		t.Logf("%s: %.0f bytes each", name, each)
		if each > grantBytes {
			t.Errorf("%s: %.0f bytes each, want at most %d", name, each, grantBytes)
		}
		if n := m.Status().Grants; n != grants {
			t.Errorf("%s: %d grants are held", name, n)
		}
	}
}

// What the feed's client calls for a snapshot, and for a large change.
func BenchmarkTellingGrants(b *testing.B) {
	const grants = 100_000
	all := manyGrants(grants)
	for name, tell := range map[string]func(m *Table) error{
		"snapshot": func(m *Table) error {
			_, _, err := feedtest.Swap(b.Context(), m, feed.Position{Epoch: 1, Revision: 1}, all)
			return err
		},
		"deltas of 20,000": func(m *Table) error {
			if _, _, err := feedtest.Swap(b.Context(), m, feed.Position{Epoch: 1, Revision: 1}, nil); err != nil {
				return err
			}
			for i := range int64(5) {
				d := &feed.Delta{Epoch: 1, Revision: 2 + i, Resources: all[i*20_000 : (i+1)*20_000]}
				if _, _, err := m.Apply(b.Context(), d); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := tell(newTable(b)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*grants), "ns/grant")
		})
	}
	b.Run("recheck of a tenth", func(b *testing.B) {
		m := newTable(b)
		if _, _, err := feedtest.Swap(b.Context(), m, feed.Position{Epoch: 1, Revision: 1}, all); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !m.state.Load().intact(3) {
				b.Fatal("it is not what was told")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*grants/tenths), "ns/grant")
	})
}
