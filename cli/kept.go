package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
)

// kept is what the command remembers of one record, named by its origin: the key
// that it saw first, and signed checkpoints that it has seen. Against these the
// record cannot be cut or rewritten unnoticed (P9).
type kept struct{ dir string }

// maxKept bounds how many checkpoints are kept: the oldest, against which
// everything later must agree, and the newest ones.
const maxKept = 100

// keptOf returns what is kept of the record whose verifier key is key.
func (a *app) keptOf(key string) (kept, error) {
	origin, _, _ := strings.Cut(key, "+")
	if origin == "" {
		return kept{}, fmt.Errorf("%q is not the key of a record", key)
	}
	dir, err := a.dir(filepath.Join("record", url.PathEscape(origin)))
	return kept{dir}, err
}

// see fetches the newest checkpoint and keeps it.
func (a *app) see(ctx context.Context, client *api.Client, key string) error {
	if key == "" {
		return nil
	}
	note, err := client.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint of the record: %w", err)
	}
	k, err := a.keptOf(key)
	if err != nil {
		return err
	}
	return k.add(key, note)
}

// pin holds the record to the key that was seen first.
func (k kept) pin(key string) error {
	path := filepath.Join(k.dir, "key")
	b, err := os.ReadFile(path)
	if absent(err) {
		return writePrivate(path, []byte(key+"\n"))
	}
	if err != nil {
		return err
	}
	if first := strings.TrimSpace(string(b)); first != key {
		return hinted{fmt.Errorf("the record's key is %s, and it was %s before: somebody signs another record", key, first),
			"ask your security team; if the change is meant: rm -r " + k.dir}
	}
	return nil
}

// add keeps a checkpoint, which must not be behind one that is kept.
func (k kept) add(key string, note []byte) error {
	if err := k.pin(key); err != nil {
		return err
	}
	v, err := audit.NewVerifier(key)
	if err != nil {
		return err
	}
	head, err := v.Open(note)
	if err != nil {
		return fmt.Errorf("checkpoint of the record: %w", err)
	}
	notes, err := k.notes()
	if err != nil {
		return err
	}
	for _, old := range notes {
		before, err := v.Open(old)
		if err != nil {
			return fmt.Errorf("kept checkpoint in %s: %w", k.dir, err)
		}
		if err := follows(head, before); err != nil {
			return hinted{err, "mayfly audit verify"}
		}
	}
	name := fmt.Sprintf("%020d.note", head.Size)
	if err := writePrivate(filepath.Join(k.dir, name), note); err != nil {
		return err
	}
	return k.prune()
}

// follows reports whether a checkpoint can come after one seen before; whether
// the one is the beginning of the other only audit verify can tell.
func follows(head, before audit.Checkpoint) error {
	switch {
	case head.Size < before.Size:
		return fmt.Errorf("the record has %d entries, and it had %d before: entries were cut off", head.Size, before.Size)
	case head.Size == before.Size && head.Root != before.Root:
		return fmt.Errorf("the record's %d entries are not those seen before: entries were changed", head.Size)
	}
	return nil
}

// notes returns the kept checkpoints, smallest first.
func (k kept) notes() ([][]byte, error) {
	names, err := k.names()
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (k kept) names() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(globText(k.dir), "*.note"))
	slices.Sort(names)
	return names, err
}

// globText escapes what a pattern would read as one.
func globText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

func (k kept) prune() error {
	names, err := k.names()
	if err != nil || len(names) <= maxKept {
		return err
	}
	return removeAll(names[1 : len(names)-maxKept+1])
}

// verified forgets all but the newest checkpoint: the record was found to agree
// with every one of them, so the newest stands for all.
func (k kept) verified() error {
	names, err := k.names()
	if err != nil || len(names) < 2 {
		return err
	}
	return removeAll(names[:len(names)-1])
}

func removeAll(names []string) error {
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
