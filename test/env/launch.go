package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Launch builds the binaries into a new folder and starts a product there. Bin, Dir
// and StripeMock of c are filled in. close ends it and removes the folder; with
// MAYFLY_KEEP set the logs stay.
func Launch(ctx context.Context, c Config) (e *Env, close func() error, err error) {
	dir, err := os.MkdirTemp("", "mf") // short: sockets are in it
	if err != nil {
		return nil, nil, err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return nil, nil, err
	}
	if err := Build(ctx, bin); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	c.Bin, c.StripeMock, c.Dir = bin, Tool("bin", "stripe-mock"), dir
	if e, err = Start(ctx, c); err != nil {
		return nil, nil, err
	}
	return e, func() error {
		err := e.Close()
		if os.Getenv("MAYFLY_KEEP") != "" {
			fmt.Println("logs are kept in", dir)
			return err
		}
		return errors.Join(err, os.RemoveAll(dir))
	}, nil
}
