package egress

import (
	"context"
	"net/http"
	"net/netip"
)

// Open reports whether an address needs no listing.
func Open(a netip.Addr) bool { return open(a) }

// Control is what the dialer asks before it connects.
func (w Way) Control(ctx context.Context, network, address string) error {
	return w.control(ctx, network, address, nil)
}

// Bounded holds what goes over next to the rules.
func Bounded(next http.RoundTripper) http.RoundTripper { return bounded{next} }

// TransportOf is what a client of a Way sends with.
func TransportOf(c *http.Client) *http.Transport { return c.Transport.(bounded).next.(*http.Transport) }
