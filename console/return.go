package console

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
)

// maxReturn bounds the address where somebody was going, in bytes.
const maxReturn = 2048

// destination is where somebody was going when they were refused.
type destination struct{ URL, Host string }

// destination reads an address that came with a link: only that of a page of an
// app that takes people, at the port where people reach it, is one. Anything else
// is dropped, so that the console leads nowhere but to where Mayfly decides.
func (c *Console) destination(ctx context.Context, text string) (destination, error) {
	if text == "" || len(text) > maxReturn || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return destination{}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" || c.port(u) != c.c.PeoplePort {
		return destination{}, nil
	}
	set, err := c.service.Policy(ctx)
	if access.CodeOf(err) == access.CodeNoPolicy {
		return destination{}, nil
	}
	if err != nil {
		return destination{}, err
	}
	app, _ := set.AppByHost(strings.ToLower(u.Hostname()))
	if !app.TakesPeople() { // nor does the app of no host
		return destination{}, nil
	}
	u.Fragment, u.RawFragment = "", ""
	return destination{u.String(), strings.ToLower(u.Hostname())}, nil
}

// port returns the port of an https URL, 0 for one that is none.
func (c *Console) port(u *url.URL) uint16 {
	if u.Port() == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0
		}
		return 443
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
