package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/process"
)

// version is set by the linker.
var version = "dev"

func main() { process.Main(command()) }

type options struct {
	config string
	dev    bool
	check  bool
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "mayfly-sidecar",
		Short: "Decides every request of the Envoy beside it",
		Long: `Starts one Envoy and decides every request that reaches it, from memory. Holds the
upstream credentials. Denies whatever it does not know, and everything once it has
not heard from mayflyd for long enough.`,
		Example:       "  mayfly-sidecar --config /etc/mayfly/sidecar.yaml\n  mayfly-sidecar --config sidecar.yaml --check",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
			c, err := loadConfig(o.config, o.dev)
			if err != nil {
				return err
			}
			web, err := c.web(log)
			if err != nil || o.check {
				return err
			}
			return run(cmd.Context(), c, web, o, log)
		},
	}
	root.PersistentFlags().StringVar(&o.config, "config", "/etc/mayfly/sidecar.yaml", "configuration file")
	root.PersistentFlags().BoolVar(&o.dev, "dev", false, "development: accepts the development CA, listens on loopback only")
	root.Flags().BoolVar(&o.check, "check", false, "check the configuration and exit")
	root.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "What the running sidecar holds and how fresh it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return askRunning(cmd.Context(), o, "GET", "/status", cmd.OutOrStdout())
		},
	}, &cobra.Command{
		Use:   "reset-clock",
		Short: "Believe the next time that mayflyd tells, after everything was denied with the reason clock",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return askRunning(cmd.Context(), o, "POST", "/reset-clock", cmd.OutOrStdout())
		},
	}, resetCheckpointCommand(&o), explainCommand(&o))
	root.AddCommand(callerCommand(root, &o))
	return root
}

func resetCheckpointCommand(o *options) *cobra.Command {
	var anyway bool
	cmd := &cobra.Command{
		Use:   "reset-checkpoint",
		Short: "Believe the record that mayflyd shows now, after another one was seen",
		Long: `Lets go of the newest checkpoint of the record that this gateway keeps, and believes
the next one that the record's key signed. Until then a mayflyd that was set back, or
that shows another record, is not believed and everything is denied.

Do it only after mayflyd recover --accept-rollback, by somebody who knows why it was
needed. It is recorded, and the checkpoints stay in the folder evidence of state_dir.
While mayflyd is heard and believed, it stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/reset-checkpoint"
			if anyway {
				path += "?anyway=1"
			}
			return askRunning(cmd.Context(), *o, "POST", path, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&anyway, "anyway", false, "though mayflyd is heard and believed")
	return cmd
}
