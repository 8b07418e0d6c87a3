package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// A page of open grants reads its own rows and no others: all pages together read each
// grant once, however many there are. The plan says so: it goes on behind the page
// before in the order of the list, and sorts nothing.
func TestAPageOfOpenGrantsReadsOnlyItsOwn(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	bob, err := identity.ParsePrincipal("user:idp:bob")
	if err != nil {
		t.Fatal(err)
	}
	before := grant.NewMinter().NewGrantID(time.Unix(1_800_000_000, 0))
	for name, c := range map[string]struct {
		filter access.GrantFilter
		want   string
	}{
		"live":                {access.GrantFilter{LiveAt: time.Unix(1_800_000_000, 0)}, "grants_open (id<?)"},
		"live of a principal": {access.GrantFilter{LiveAt: time.Unix(1_800_000_000, 0), Principal: bob}, "grants_open_by_principal (principal=? AND id<?)"},
		"and of an app":       {access.GrantFilter{LiveAt: time.Unix(1_800_000_000, 0), Principal: bob, App: "stripe"}, "grants_open_by_principal (principal=? AND id<?)"},
		"live of an app":      {access.GrantFilter{LiveAt: time.Unix(1_800_000_000, 0), App: "stripe"}, "grants_fed (app=? AND id<?)"},
		"fed":                 {access.GrantFilter{Fed: true, App: "stripe"}, "grants_fed (app=? AND id<?)"},
	} {
		t.Run(name, func(t *testing.T) {
			c.filter.Before, c.filter.Limit = before, 500
			query, args := grantsOf(c.filter)
			var plan []string
			err := s.View(t.Context(), func(read access.Tx) (err error) {
				plan, err = list(t.Context(), read.(*tx), func(r row) (detail string, err error) {
					var id, parent, unused int
					return detail, r.Scan(&id, &parent, &unused, &detail)
				}, "EXPLAIN QUERY PLAN "+selectGrant+query, args...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"SEARCH grants USING INDEX " + c.want}; !slices.Equal(plan, want) {
				t.Errorf("the plan is %q, want %q", strings.Join(plan, "; "), want)
			}
		})
	}
}
