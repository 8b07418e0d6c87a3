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
	return root
}
