package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/process"
)

// version is set by the linker.
var version = "dev"

// gcPercent is how much garbage is let lie before it is collected, in per cent of what is
// in use: memory for time, since an end that waits for a processor comes late. $GOGC says else.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	process.Main(command())
}

func command() *cobra.Command {
	var path string
	var dev, check bool
	root := &cobra.Command{
		Use:   "mayflyd",
		Short: "The control plane: policy, requests, approvals, grants and the record",
		Long: `The control plane: policy, requests, approvals, grants and the record. It holds no
upstream credential. Run mayflyd init once before.`,
		Example:       "  mayflyd init --config /etc/mayfly/mayflyd.yaml\n  mayflyd --config /etc/mayfly/mayflyd.yaml",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path, dev)
			if err != nil || check {
				return err
			}
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
			if dev {
				log.WarnContext(cmd.Context(), "development: unsigned policy and the development CA are accepted")
			}
			return run(cmd.Context(), c, dev, log)
		},
	}
	root.PersistentFlags().StringVar(&path, "config", "/etc/mayfly/mayflyd.yaml", "configuration file")
	root.PersistentFlags().BoolVar(&dev, "dev", false, "development: accepts unsigned policy and the development CA, listens on loopback only")
	root.Flags().BoolVar(&check, "check", false, "check the configuration and exit")
	root.AddCommand(&cobra.Command{
		Use:     "init",
		Short:   "Make the data folder and the record's keys, and print every root of trust",
		Example: "  mayflyd init --config /etc/mayfly/mayflyd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path, dev)
			if err != nil {
				return err
			}
			return initialise(cmd.OutOrStdout(), c, dev)
		},
	})
	root.AddCommand(recoverCommand(&path, &dev))
	return root
}

func recoverCommand(path *string, dev *bool) *cobra.Command {
	var accept bool
	var files []string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on with a database that was set back, when there is no newer copy",
		Long: `Goes on with a database that is older than what was signed, because no newer copy is
left. mayflyd must not run. The checkpoints that the database does not continue go on the
record as evidence: that of the pin file, and those given with --checkpoint, such as a
gateway's. A new epoch begins, every live grant and session ends with its record, and
the pin is moved.

Gateways that have seen more deny until the operator of each says mayfly-sidecar
reset-checkpoint: whoever owns mayflyd must not be able to roll it back unnoticed.`,
		Example: "  mayflyd recover --accept-rollback --config /etc/mayfly/mayflyd.yaml\n  mayflyd recover --accept-rollback --checkpoint gateway.note",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !accept {
				return errors.New("this ends all access and accepts that entries of the record are lost: say --accept-rollback")
			}
			c, err := loadConfig(*path, *dev)
			if err != nil {
				return err
			}
			return recoverRecord(cmd.Context(), cmd.OutOrStdout(), c, *dev, files, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
		},
	}
	cmd.Flags().BoolVar(&accept, "accept-rollback", false, "yes: entries of the record are lost, and all access ends")
	cmd.Flags().StringArrayVar(&files, "checkpoint", nil, "file with a signed checkpoint of what is missing, such as a gateway's; again for each one")
	return cmd
}
