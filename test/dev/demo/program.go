package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/mayflyproxy/mayfly/api"
)

// fetch is a program that knows nothing of Mayfly: an address and a key, as any
// other, from its environment.
const fetch = `import os, urllib.request as u
r = u.Request(os.environ["MAYFLY_URL"] + "/daily/1", headers={"X-Mayfly-Key": os.environ["MAYFLY_KEY"]})
print(u.urlopen(r).status, "from", r.host)`

// program is a Python program that speaks no mutual TLS.
func (s *story) program(ctx context.Context) error {
	s.chapter("A program that speaks no mutual TLS: mayfly exec asks, runs it with an address and a key of this run, and gives the access back.")
	const shown = "mayfly exec --entitlement reports/read --param folder=/daily -- python3 …"
	s.fact("reporter$ %s", shown)
	ran, err := s.e.CLI(ctx, "reporter", "exec", "--entitlement", "reports/read", "--param", "folder=/daily", "--gateway", s.gw.Address, "--", "python3", "-c", fetch)
	if err != nil {
		return err
	}
	if ran.Exit != exitDone || !strings.HasPrefix(ran.Stdout, "200 from 127.0.0.1:") {
		return fmt.Errorf("%s ended with %d: %s", shown, ran.Exit, ran.Text())
	}
	s.fact("%s", strings.TrimSpace(ran.Stdout))
	var left []api.Grant
	if err := s.ask(ctx, "reporter", exitDone, &left, "grants"); err != nil {
		return err
	}
	if len(left) != 0 {
		return fmt.Errorf("a grant is left: %+v", left)
	}
	s.fact("it has ended, and so have its grant, its key and its port: no grant of the reporter is left")
	return nil
}
