package caller

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// Config says what one Listener is: one address, or one socket, for one host of one
// app. Fields without a default are required.
type Config struct {
	// Address is a loopback address to listen at; port 0 is one that is free. Or
	// Socket, the path of a Unix socket: one of the two.
	Address netip.AddrPort
	Socket  string
	// Host is the app's host, as the gateway knows it.
	Host string
	// Form is how programs show their key; see FormOf.
	Form Form
	// Secret is the key that they must show. On a Unix socket the zero value is
	// allowed: who opened it is proof enough.
	Secret Secret
	// Door carries requests to the gateway and proves who calls; see NewServices.
	Door http.RoundTripper
	// Refuse writes what is refused here in the shape that the app's clients know;
	// nil is app.Problem.
	Refuse func(*grant.Denial) app.Response
	// Told hears the gateway's reason for each request that it refused. Nil: nobody.
	// It must not block.
	Told func(grant.Reason)
	// Grace is how long requests under way may go on when Run ends; 0 is 5 s.
	Grace time.Duration
	Log   *slog.Logger // nil: discarded
}

const defaultGrace = 5 * time.Second

func (c *Config) check() error {
	hostName := regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	switch {
	case c.Address.IsValid() == (c.Socket != ""):
		return errors.New("caller: want an address or a socket, one of the two")
	case c.Address.IsValid() && !c.Address.Addr().IsLoopback():
		return fmt.Errorf("caller: %s is no loopback address: others would be let in", c.Address)
	case c.Address.IsValid() && c.Secret.IsZero():
		return errors.New("caller: a loopback address needs a key: everybody on this machine reaches it")
	case !hostName.MatchString(c.Host):
		return fmt.Errorf("caller: %q is not the host name of an app", c.Host)
	case c.Door == nil:
		return errors.New("caller: no way to the gateway")
	}
	if c.Refuse == nil {
		c.Refuse = app.Problem
	}
	if c.Told == nil {
		c.Told = func(grant.Reason) {}
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
