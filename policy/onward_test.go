package policy

import (
	"slices"
	"testing"
)

func TestOnwardIsWhatTheFileSays(t *testing.T) {
	const id = "spiffe://acme.example/ns/pay/sa/stripe"
	set, err := Load(edited(t,
		change{stripe, "owner: team-payments", "owner: team-payments\nworkload: " + id},
		change{refunds, "owner: team-payments", "owner: team-payments\nonward: [reports]"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := set.App("stripe")
	e, _ := set.Entitlement("stripe/refunds")
	if a.Workload.String() != id || a.Resource() != "https://"+a.Hosts[0] || !slices.Equal(e.Onward, []string{"reports"}) {
		t.Errorf("workload %s, resource %s, onward %v", a.Workload, a.Resource(), e.Onward)
	}
	if e, _ := set.Entitlement("reports/read"); len(e.Onward) != 0 {
		t.Errorf("onward %v where the file says none", e.Onward)
	}
	_, err = Load(edited(t,
		change{stripe, "owner: team-payments", "owner: team-payments\nworkload: " + id},
		change{web, "app: reports", "app: reports\nworkload: " + id}), options(t))
	if err == nil {
		t.Error("one workload speaks for two apps")
	}
}
