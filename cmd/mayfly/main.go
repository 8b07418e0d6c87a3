package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/mayflyproxy/mayfly/cli"
	"github.com/mayflyproxy/mayfly/policy/git"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, cli.Config{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal:      func() bool { return isatty.IsTerminal(os.Stdin.Fd()) },
		Live:          func() bool { return isatty.IsTerminal(os.Stderr.Fd()) },
		Getenv:        os.Getenv,
		UserConfigDir: os.UserConfigDir,
		Loopback:      openLoopback,
		Door:          openDoor,
		Policy:        policyOptions,
		PolicyAt:      git.FilesAt,
		Version:       version(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "development"
	}
	return info.Main.Version
}
