package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs the command line and returns the exit code: 1 for an error, 2 for a
// command line that makes no sense.
func execute(ctx context.Context, args []string, stderr io.Writer) int {
	root, understood := command(), false
	root.SetArgs(args)
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "mayflyd:", err)
	if understood {
		return 1
	}
	fmt.Fprintln(stderr, "hint:", ran.CommandPath(), "--help")
	return 2
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
	return root
}
