package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/grant"
)

func (a *app) proxyCommand() *cobra.Command {
	var to destination
	var port uint16
	cmd := &cobra.Command{
		Use: "proxy APP", Short: "Let programs on this machine reach an app that you have access to",
		Long: `Opens a port on this machine's loopback for one app, under your own live grant on it,
and prints address and key as variables of a shell. Programs show the key as docs/exec.md
says; it is good for this run only, on this machine, for this user. Ctrl-C closes it.`,
		Example: `  mayfly proxy reports --port 8080
  mayfly proxy wiki --entitlement wiki/write
  mayfly proxy stripe --gateway gateway.acme.example:9443`,
		Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			to.app = args[0]
			return a.proxy(cmd.Context(), to, port)
		}),
	}
	f := cmd.Flags()
	f.Uint16Var(&port, "port", 0, "port on 127.0.0.1; left out: one that is free")
	to.flags(f)
	return cmd
}

func (a *app) proxy(ctx context.Context, to destination, port uint16) error {
	if a.c.Loopback == nil {
		return errors.New("this mayfly cannot open a loopback port")
	}
	passage, grants, err := a.toApp(ctx, to)
	if err != nil {
		return err
	}
	passage.Port, passage.Told = port, func(r grant.Reason) { a.note("the gateway refused a call: %s", r) }
	way, err := a.c.Loopback(passage)
	if err != nil {
		return err
	}
	a.note("%s by %s on %s; Ctrl-C closes it", grants[0].ID, grants[0].Entitlement, to.app)
	a.hintOther(a.command+" "+to.app, grants)
	for _, line := range way.Environment() {
		key, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(a.c.Stdout, "export %s='%s'\n", key, value)
	}
	return way.Run(ctx)
}
