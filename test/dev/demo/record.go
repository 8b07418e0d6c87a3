package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
)

const flips = 20

func (s *story) traced(ctx context.Context) error {
	s.chapter("The whole chain, from request to action.")
	// Whoever may end access does not thereby read what others did.
	refused, err := s.run(ctx, "bob", exitDenied, "trace", s.grant.ID)
	if err != nil {
		return err
	}
	s.fact("%s", refused.Text())
	if _, err := s.run(ctx, "bob", exitDone, "request", "mayfly/investigate", "--reason", "what was done with ch_1"); err != nil {
		return err
	}
	ran, err := s.run(ctx, "bob", exitDone, "trace", s.grant.ID)
	if err != nil {
		return err
	}
	s.fact("%s", ran.Text())
	for _, want := range []string{"request.created", "approval.given", "grant.created", "action.intent", "action.outcome", "grant.revoked"} {
		if !strings.Contains(ran.Text(), want) {
			return fmt.Errorf("the trace lacks %s", want)
		}
	}
	return nil
}

func (s *story) verified(ctx context.Context) error {
	s.chapter("An independent check accepts the record, and finds what was changed or cut.")
	dir := filepath.Join(s.e.Dir, "export")
	if _, err := s.run(ctx, "bob", exitDone, "audit", "export", dir); err != nil {
		return err
	}
	ran, err := s.run(ctx, "bob", exitDone, "audit", "verify", dir, "--key", s.e.KeyFile())
	if err != nil {
		return err
	}
	s.fact("%s", ran.Text())
	if err := s.flip(dir); err != nil {
		return err
	}
	return s.cut(ctx, dir)
}

// flip changes one byte in each of 20 places, one at a time, and expects verify
// to name the entry.
func (s *story) flip(dir string) error {
	key, err := os.ReadFile(s.e.KeyFile())
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "leaves", "*.jsonl"))
	if err != nil {
		return err
	}
	frames, err := filepath.Glob(filepath.Join(dir, "segments", "*.frames"))
	if err != nil {
		return err
	}
	files = append(files, frames...)
	random := rand.New(rand.NewPCG(3, 20))
	for i := range flips {
		name := files[i%len(files)]
		whole, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at := random.IntN(len(whole))
		want, err := entryAt(name, whole, at)
		if err != nil {
			return err
		}
		got, err := verifyFlipped(dir, name, whole, at, strings.TrimSpace(string(key)))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("byte %d of %s was flipped: verify names %q, expected %q", at, filepath.Base(name), got, want)
		}
		s.fact("byte %6d of %-38s flipped: verify names %s", at, short(filepath.Base(name)), got)
	}
	return nil
}

func short(name string) string {
	if len(name) > 38 {
		return name[:35] + "…"
	}
	return name
}

// verifyFlipped flips a byte, verifies, puts it back, and returns the place of
// the first problem.
func verifyFlipped(dir, name string, whole []byte, at int, key string) (place string, err error) {
	changed := append([]byte(nil), whole...)
	changed[at] ^= 0x01
	if err := os.WriteFile(name, changed, 0o600); err != nil {
		return "", err
	}
	report, err := audit.Verify(dir, audit.VerifyOptions{Key: key})
	if rerr := os.WriteFile(name, whole, 0o600); rerr != nil {
		return "", rerr
	}
	if err != nil {
		return "", err
	}
	if len(report.Problems) == 0 {
		return "", errors.New("verify accepts a flipped byte")
	}
	p := report.Problems[0].Place
	if p.Spool != "" {
		return fmt.Sprintf("spool %s seq %d", p.Spool, p.First), nil
	}
	return fmt.Sprintf("entry %d", p.First), nil
}

// entryAt says which entry a byte of an exported file belongs to.
func entryAt(name string, whole []byte, at int) (string, error) {
	base := filepath.Base(name)
	if first, ok := strings.CutSuffix(base, ".jsonl"); ok {
		var n int
		if _, err := fmt.Sscanf(first, "%d", &n); err != nil {
			return "", err
		}
		return fmt.Sprintf("entry %d", n+strings.Count(string(whole[:at]), "\n")), nil
	}
	spool := strings.TrimSuffix(base, ".frames")
	seq := 1
	for rest, offset := whole, 0; ; seq++ {
		f, err := audit.NextFrame(rest)
		if err != nil {
			return "", err
		}
		if offset += f.Size; at < offset {
			return fmt.Sprintf("spool %s seq %d", spool, seq), nil
		}
		rest = rest[f.Size:]
	}
}

// cut removes the last five entries and signs what is left with the record's own
// key, as whoever holds mayflyd's disk could. Only the checkpoint that was kept
// from before tells.
func (s *story) cut(ctx context.Context, dir string) error {
	const cut = 5
	kept := filepath.Join(s.e.Dir, "kept-checkpoint")
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(kept, signed, 0o600); err != nil {
		return err
	}
	for _, ext := range []string{".jsonl", ".hashes"} {
		files, err := filepath.Glob(filepath.Join(dir, "leaves", "*"+ext))
		if err != nil {
			return err
		}
		if err := cutLines(files[len(files)-1], cut); err != nil {
			return err
		}
	}
	if err := s.signAgain(ctx, dir); err != nil {
		return err
	}
	ran, err := s.run(ctx, "bob", 1, "audit", "verify", dir, "--key", s.e.KeyFile(), "--checkpoint", kept)
	if err != nil {
		return err
	}
	s.fact("%s", ran.Text())
	if !strings.Contains(ran.Text(), "are missing") {
		return errors.New("verify does not say that entries are missing")
	}
	return nil
}

// signAgain makes a good checkpoint of the leaves that an export has now.
func (s *story) signAgain(ctx context.Context, dir string) error {
	secret, err := os.ReadFile(filepath.Join(filepath.Dir(s.e.KeyFile()), "checkpoint.key"))
	if err != nil {
		return err
	}
	key, err := audit.ParseSigningKey(strings.TrimSpace(string(secret)))
	if err != nil {
		return err
	}
	signer, err := audit.NewSigner(key)
	if err != nil {
		return err
	}
	log := &audittest.Memory{}
	files, err := filepath.Glob(filepath.Join(dir, "leaves", "*.jsonl"))
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			record, err := audit.Decode([]byte(strings.TrimSuffix(line, "\n")))
			if err != nil {
				return err
			}
			if _, err := audit.Append(ctx, log, record); err != nil {
				return err
			}
		}
	}
	size := int64(len(log.Leaves))
	root, err := audit.TreeHash(ctx, log, size)
	if err != nil {
		return err
	}
	note, err := signer.Sign(size, root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "checkpoint"), note, 0o600)
}

func cutLines(name string, n int) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) <= n {
		return fmt.Errorf("%s has only %d entries", name, len(lines))
	}
	return os.WriteFile(name, []byte(strings.Join(lines[:len(lines)-n], "")), 0o600)
}
