package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs the command line of this process until it ends or a signal ends it, and
// exits. It does not return.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Execute(ctx, root, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// Execute runs a command line and returns the exit code: 0, 1 for an error, 2 for a
// command line that makes no sense. What went wrong is told on stderr.
func Execute(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	understood := false
	root.SetArgs(args)
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, root.Name()+":", err)
	if understood {
		return 1
	}
	fmt.Fprintln(stderr, "hint:", ran.CommandPath(), "--help")
	return 2
}
