package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/store/sqlite"
)

// recoverRecord goes on with a database that was set back: the pin, and the
// checkpoints in the files, are the evidence of what is missing. mayflyd must not run.
func recoverRecord(ctx context.Context, out io.Writer, c config, dev bool, files []string, log *slog.Logger) error {
	signer, key, err := recordKeys(c.DataDir, c.Origin)
	if err != nil {
		return err
	}
	var checkpoints [][]byte
	pinned, err := os.ReadFile(c.Pin)
	switch {
	case err == nil:
		checkpoints = append(checkpoints, pinned)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("pin file: %w", err)
	}
	for _, file := range files {
		note, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		checkpoints = append(checkpoints, note)
	}
	store, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(c.DataDir, databaseName), Alarm: func(s string) { log.Error("clock alarm", "text", s) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	d := &daemon{c: c, dev: dev, log: log, store: store}
	if err := d.makeService(signer, func([]byte) {}); err != nil {
		return err
	}
	done, err := d.service.Recover(ctx, checkpoints)
	if err != nil {
		return err
	}
	// The pin last: as long as it is behind, mayflyd does not start, and this is run again.
	note, err := d.service.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if err := audit.ReplacePin(c.Pin, key, note); err != nil {
		return err
	}
	p := printer{out: out}
	for _, e := range done.Evidence {
		p.line("recorded as evidence", fmt.Sprintf("signed checkpoint of %d entries, root %s", e.Size, e.Root))
	}
	p.line("entries found", strconv.FormatInt(done.Entries, 10))
	p.line("new epoch", strconv.FormatInt(done.Epoch, 10))
	p.line("grants ended", strconv.Itoa(done.Grants))
	p.line("sessions ended", strconv.Itoa(done.Sessions))
	p.line("pin", c.Pin)
	p.line("next", "start mayflyd; on each gateway, by its own operator: mayfly-sidecar reset-checkpoint")
	return p.err
}
