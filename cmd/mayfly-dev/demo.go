package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/test/dev/demo"
	"github.com/mayflyproxy/mayfly/test/env"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	bin, envoy, stripeMock string
	keep                   bool
}

// run tells the story in a folder of its own, which it removes.
func (o demoOptions) run(ctx context.Context, out io.Writer) (err error) {
	for _, p := range []*string{&o.bin, &o.envoy, &o.stripeMock} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "mayfly") // short: sockets are in it
	if err != nil {
		return err
	}
	defer func() {
		if os.Getenv("MAYFLY_DEMO_DIR_KEPT") == "" {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	return demo.Run(ctx, demo.Config{
		Env: env.Config{Bin: o.bin, Envoy: o.envoy, StripeMock: o.stripeMock, Dir: dir}, Out: out, Keep: o.keep,
	})
}
