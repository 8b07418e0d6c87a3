package console_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/console"
	"github.com/mayflyproxy/mayfly/grant"
)

// damagedOffers reads every Offer with one more key than this version knows.
type damagedOffers struct{ access.Store }

func (s damagedOffers) View(ctx context.Context, f func(access.Tx) error) error {
	return s.Store.View(ctx, func(tx access.Tx) error { return f(damagedTx{tx}) })
}

type damagedTx struct{ access.Tx }

func (t damagedTx) Requests() access.RequestStore { return damagedRequests{t.Tx.Requests()} }

type damagedRequests struct{ access.RequestStore }

func (s damagedRequests) Offer(ctx context.Context, id grant.OfferID) ([]byte, error) {
	b, err := s.RequestStore.Offer(ctx, id)
	return append([]byte(`{"also":"everything",`), b[1:]...), err
}

func signer(t testing.TB) *audit.Signer {
	t.Helper()
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	check(t, err)
	s, err := audit.NewSigner(key)
	check(t, err)
	return s
}

func minter() *grant.Minter { return grant.NewMinter() }

func pagesOf(t testing.TB, s *access.Service) http.Handler {
	t.Helper()
	c, err := console.New(console.Config{Service: s, Origin: origin, PeoplePort: port})
	check(t, err)
	return c.Handler()
}
