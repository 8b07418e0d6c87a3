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
	var gateway string
	var port uint16
	cmd := &cobra.Command{
		Use: "proxy APP", Short: "Let programs on this machine reach an app that you have access to",
		Long: `Opens a port on this machine's loopback for one app, under your own live grant on it,
and prints address and key as variables of a shell. Programs show the key as docs/exec.md
says; it is good for this run only, on this machine, for this user. Ctrl-C closes it.`,
		Example: `  mayfly proxy reports --port 8080
  mayfly proxy stripe --gateway gateway.acme.example:9443`,
		Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.proxy(cmd.Context(), args[0], gateway, port) }),
	}
	f := cmd.Flags()
	f.Uint16Var(&port, "port", 0, "port on 127.0.0.1; left out: one that is free")
	f.StringVar(&gateway, "gateway", "", "host:port of a gateway's door for clients ($MAYFLY_GATEWAY); left out: port 443 of the app's host")
	return cmd
}

func (a *app) proxy(ctx context.Context, name, gateway string, port uint16) error {
	if a.c.Loopback == nil {
		return errors.New("this mayfly cannot open a loopback port")
	}
	passage, reach, err := a.toApp(ctx, name, gateway)
	if err != nil {
		return err
	}
	passage.Port, passage.Told = port, func(r grant.Reason) { a.note("the gateway refused a call: %s", r) }
	way, err := a.c.Loopback(passage)
	if err != nil {
		return err
	}
	a.note("%s on %s; Ctrl-C closes it", reach.Grant, name)
	for _, line := range way.Environment() {
		key, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(a.c.Stdout, "export %s='%s'\n", key, value)
	}
	return way.Run(ctx)
}
