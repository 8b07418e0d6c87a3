package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
)

// proofBook is what must be known of proofs over restarts: which policies were shown,
// oldest first, and which Offers are used up.
type proofBook struct {
	V        int          `json:"v"`
	Policies []seenPolicy `json:"policies"`
	Offers   []offerUse   `json:"offers"`

	path string
}

// seenPolicy is a commit, and the position at which it was first shown.
type seenPolicy struct {
	Commit   string `json:"commit"`
	Epoch    int64  `json:"epoch"`
	Revision int64  `json:"revision"`
}

func (p seenPolicy) at() feed.Position { return feed.Position{Epoch: p.Epoch, Revision: p.Revision} }

// offerUse is an Offer that a grant was made on. Leaf is the SHA-256 of the record of
// it: the same grant with other times would be another one. Spent says that the grant
// has ended: not even the same one comes back.
type offerUse struct {
	Offer string    `json:"offer"`
	Grant string    `json:"grant"`
	Leaf  string    `json:"leaf"`
	App   string    `json:"app"`
	Until time.Time `json:"until"` // any grant on this Offer has ended then
	Spent bool      `json:"spent"`
}

const (
	bookVersion = 1
	maxSeen     = 512
)

func openProofBook(path string) (*proofBook, error) {
	b := &proofBook{V: bookVersion, path: path}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("proofs that were shown: %w", err)
	}
	if err := json.Unmarshal(raw, b); err != nil || b.V != bookVersion {
		return nil, fmt.Errorf("proofs that were shown: %s cannot be read: %v", path, err)
	}
	return b, nil
}

func (b *proofBook) newest() (seenPolicy, bool) {
	if len(b.Policies) == 0 {
		return seenPolicy{}, false
	}
	return b.Policies[len(b.Policies)-1], true
}

func (b *proofBook) has(commit string) bool {
	return slices.ContainsFunc(b.Policies, func(p seenPolicy) bool { return p.Commit == commit })
}

// add notes a policy as the newest one, durably.
func (b *proofBook) add(commit string, at feed.Position) error {
	before := b.Policies
	b.Policies = append(slices.Clone(before), seenPolicy{Commit: commit, Epoch: at.Epoch, Revision: at.Revision})
	if n := len(b.Policies); n > maxSeen {
		b.Policies = b.Policies[n-maxSeen:]
	}
	if err := b.write(); err != nil {
		b.Policies = before
		return err
	}
	return nil
}

// use notes durably that a grant was made on an Offer. A second grant on it, and one
// that has ended, are refused.
func (b *proofBook) use(u offerUse, now time.Time) error {
	if i := slices.IndexFunc(b.Offers, func(o offerUse) bool { return o.Offer == u.Offer }); i >= 0 {
		switch {
		case b.Offers[i].Grant != u.Grant:
			return fmt.Errorf("its offer was used by %s", b.Offers[i].Grant)
		case b.Offers[i].Leaf != u.Leaf:
			return errors.New("its offer was used, with other times")
		case b.Offers[i].Spent:
			return errors.New("it has ended before")
		}
		return nil
	}
	before := b.Offers
	b.Offers = append(b.kept(now), u)
	if err := b.write(); err != nil {
		b.Offers = before
		return err
	}
	return nil
}

// used reports whether a grant was made on an Offer that this gateway saw.
func (b *proofBook) used(offer string) bool {
	return slices.ContainsFunc(b.Offers, func(o offerUse) bool { return o.Offer == offer })
}

// kept are the Offers on which a grant could still run. Before the time is known, all.
func (b *proofBook) kept(now time.Time) []offerUse {
	return slices.DeleteFunc(slices.Clone(b.Offers), func(o offerUse) bool { return !now.IsZero() && !now.Before(o.Until) })
}

// spend notes durably that grants have ended, where gone says so.
func (b *proofBook) spend(gone func(offerUse) bool) error {
	changed := false
	after := slices.Clone(b.Offers)
	for i, o := range after {
		if !o.Spent && gone(o) {
			after[i].Spent, changed = true, true
		}
	}
	if !changed {
		return nil
	}
	b.Offers = after // known for this process, whatever becomes of the file
	return b.write()
}

// write replaces the file whole, durably, readable by its owner only.
func (b *proofBook) write() error {
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := replaceFile(b.path, raw); err != nil {
		return fmt.Errorf("write the proofs that were shown: %w", err)
	}
	return nil
}
