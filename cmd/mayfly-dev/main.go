package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mayfly-dev:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "mayfly-dev",
		Short:         "Development services: SPIFFE CA, OpenID provider",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	ca := &cobra.Command{Use: "ca", Short: "A development CA with a SPIFFE Workload API"}
	ca.AddCommand(newCAServe())
	idp := &cobra.Command{Use: "idp", Short: "A development OpenID provider"}
	idp.AddCommand(newIdPServe())
	root.AddCommand(ca, idp, newDemo())
	return root
}

func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Tell the main job on the real product, from asking to the record",
		Example: "  mayfly-dev demo --bin bin --envoy .cache/envoy/envoy --stripe-mock .cache/bin/stripe-mock",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.bin, "bin", "bin", "folder of mayfly, mayflyd and mayfly-sidecar")
	cmd.Flags().StringVar(&o.envoy, "envoy", "", "path of Envoy; left out: the one on PATH")
	cmd.Flags().StringVar(&o.stripeMock, "stripe-mock", "", "path of stripe-mock; left out: the one on PATH")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave it running until Ctrl-C, and say how to use it")
	return cmd
}

func newCAServe() *cobra.Command {
	var o caOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the SPIFFE Workload API on Unix sockets",
		Long: `Serve the SPIFFE Workload API on Unix sockets.

The root key and the trust bundle (bundle.pem) are kept in --dir. The entries file
says who gets which SVID, by socket and, where uid is given, by user:

  entries:
    - {id: spiffe://acme.example/gw/sidecar, hint: sidecar, ttl: 10m}
    - {id: spiffe://acme.example/ns/pay/sa/refunder, socket: refunder.sock, uid: 1000, dns: [refunder.acme.example]}

Sockets are relative to --dir; without one an entry is on workload.sock. When all
sockets are open, the last line printed is "ready".`,
		Example: `  mayfly-dev ca serve --dir ./dev-ca --trust-domain acme.example --entries entries.yaml
  SPIFFE_ENDPOINT_SOCKET=unix://$PWD/dev-ca/workload.sock my-service`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.serve(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.dir, "dir", "", "folder of root key, bundle and sockets (required)")
	cmd.Flags().StringVar(&o.trustDomain, "trust-domain", "", "trust domain, such as acme.example (required)")
	cmd.Flags().StringVar(&o.entries, "entries", "", "YAML file of entries (required)")
	cmd.Flags().BoolVar(&o.check, "check", false, "check the configuration and exit")
	return cmd
}

func newIdPServe() *cobra.Command {
	var o idpOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve an OpenID provider on loopback",
		Long: `Serve an OpenID provider on loopback. It believes whoever says who they are.

The users file names people and relying parties:

  users:
    - {name: alice, subject: 3f1c7a52, email: alice@acme.example, email_verified: true, groups: [support]}
  clients:
    - {id: mayfly, redirects: ["https://127.0.0.1/cli/callback"]}

On 127.0.0.1 and [::1] a redirect matches with any port. When the port is open, the
issuer is printed, then "ready".`,
		Example: `  mayfly-dev idp serve --addr 127.0.0.1:5556 --users users.yaml`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.serve(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback address and port; port 0 takes a free one")
	cmd.Flags().StringVar(&o.users, "users", "", "YAML file of users and clients (required)")
	cmd.Flags().BoolVar(&o.check, "check", false, "check the configuration and exit")
	return cmd
}
