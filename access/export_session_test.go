package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// EndSessionsOf runs endSessionsOf in a transaction of its own.
func (s *Service) EndSessionsOf(ctx context.Context, principals []identity.Principal, why grant.Reason) (n int, err error) {
	err = s.update(ctx, func(w *work) error {
		n, err = w.endSessionsOf(ctx, principals, why)
		return err
	})
	return n, err
}
