package audit_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

func BenchmarkEncodeIntent(b *testing.B) {
	r := audit.Record{ID: recordID(1), Type: audit.TypeActionIntent, Time: start(), Node: "spiffe://acme.example/gw/sidecar#0", Seq: 9,
		Body: intent("act_1", "grt_1", "money")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.Encode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeIntent(b *testing.B) {
	text := mustEncode(b, audit.Record{ID: recordID(1), Type: audit.TypeActionIntent, Time: start(), Node: "spiffe://acme.example/gw/sidecar#0", Seq: 9,
		Body: intent("act_1", "grt_1", "money")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
