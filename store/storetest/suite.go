package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

// Opener makes an empty store that lives until the test ends.
type Opener func(t *testing.T) access.Store

// Run holds the stores that open makes to everything that access.Store and the
// interfaces behind it promise.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, access.Store)
	}{
		{"rollback leaves nothing", testRollback},
		{"a panic leaves nothing", testPanic},
		{"an ended context leaves nothing", testContext},
		{"own writes are read", testOwnWrites},
		{"a view is one state", testViewIsOneState},
		{"a view cannot write", testViewCannotWrite},
		{"a transaction ends with its function", testOver},
		{"a refused statement spoils nothing", testRefusedStatement},
		{"updates are serial", testSerial},
		{"the clock is read once and never falls", testClockInOrder},
		{"control log", testLog},
		{"head", testHead},
		{"changes", testChanges},
		{"policies", testPolicies},
		{"the line of policies", testPolicyLine},
		{"holds of policy", testPolicyHold},
		{"requests", testRequests},
		{"request lists", testRequestLists},
		{"overdue requests", testOverdue},
		{"approvals", testApprovals},
		{"two approvals of one person race", testApprovalRace},
		{"grants", testGrants},
		{"grants without an end", testGrantTerm},
		{"grant marks", testGrantMarks},
		{"grant lists", testGrantLists},
		{"sweeping", testSweep},
		{"grants that nobody uses", testIdle},
		{"bundles", testBundles},
		{"a bundle that is used", testIdleBundle},
		{"sessions", testSessions},
		{"session lists", testSessionLists},
		{"sweeping sessions", testSweepSessions},
		{"logins", testLogins},
		{"groups of a session", testSessionGroups},
		{"persons", testPersons},
		{"identities", testIdentities},
		{"identities to ask about", testIdentityDue},
		{"locks", testLocks},
		{"erasing a person", testErase},
		{"instances", testInstances},
		{"receipts", testReceipts},
		{"receipts of many", testReceiptsOfMany},
		{"revocations", testRevocations},
		{"spools", testSpools},
		{"index", testIndex},
		{"reservations", testReservations},
		{"idempotency keys", testKeys},
		{"outbox", testOutbox},
		{"quarantines", testQuarantines},
		{"workloads", testWorkloads},
		{"observed", testObserved},
		{"tokens", testTokens},
		{"token keys", testTokenKeys},
		{"proofs", testProofs},
		{"large values", testLarge},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// update runs f, which must not fail.
func update(t *testing.T, s access.Store, f func(context.Context, access.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx access.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// view runs f, which must not fail.
func view(t *testing.T, s access.Store, f func(context.Context, access.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), func(tx access.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// refused runs f, which must fail with want, or with anything if want is nil.
func refused(t *testing.T, s access.Store, want error, f func(context.Context, access.Tx) error) {
	t.Helper()
	err := s.Update(t.Context(), func(tx access.Tx) error { return f(t.Context(), tx) })
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Fatalf("Update = %v, want %v", err, want)
	}
}

// get reads one value in a View.
func get[T any](t *testing.T, s access.Store, read func(context.Context, access.Tx) (T, error)) T {
	t.Helper()
	var v T
	view(t, s, func(ctx context.Context, tx access.Tx) (err error) {
		v, err = read(ctx, tx)
		return err
	})
	return v
}

// missing reads one value, which must not be there.
func missing[T any](t *testing.T, s access.Store, read func(context.Context, access.Tx) (T, error)) {
	t.Helper()
	err := s.View(t.Context(), func(tx access.Tx) error {
		_, err := read(t.Context(), tx)
		return err
	})
	if !errors.Is(err, access.ErrNotFound) {
		t.Fatalf("read = %v, want ErrNotFound", err)
	}
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}
