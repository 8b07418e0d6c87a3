package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// administrator is what the file under first_administrator says.
type administrator struct {
	who  identity.Principal
	life time.Duration
}

// readAdministrator reads one line: an account, and for how long.
func readAdministrator(path string) (administrator, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return administrator{}, fmt.Errorf("first_administrator: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return administrator{}, fmt.Errorf("%s: want one line such as user:idp:3f1c7a52 4h", path)
	}
	var out administrator
	if out.who, err = identity.ParsePrincipal(fields[0]); err != nil || out.who.Kind() != identity.KindUser {
		return administrator{}, fmt.Errorf("%s: %q is not an account such as user:idp:3f1c7a52", path, fields[0])
	}
	if out.life, err = time.ParseDuration(fields[1]); err != nil || out.life <= 0 || out.life > grant.MaxTerm {
		return administrator{}, fmt.Errorf("%s: %q, want a time of at most %s", path, fields[1], grant.MaxTerm)
	}
	return out, nil
}

// administer makes the first administrator that the disk names, once.
func (d *daemon) administer(ctx context.Context) error {
	if d.c.FirstAdministrator == "" {
		return nil
	}
	a, err := readAdministrator(d.c.FirstAdministrator)
	if err != nil {
		return err
	}
	made, err := d.service.FirstAdministrator(ctx, a.who, a.life)
	if err != nil {
		return fmt.Errorf("first_administrator: %w", err)
	}
	if made {
		d.log.WarnContext(ctx, "first administrator", "account", a.who.String(), "for", a.life.String())
	}
	return nil
}
