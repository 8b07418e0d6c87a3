package access_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// names is the Ping of an instance that keeps this checkpoint.
func names(note []byte) *feed.Ping {
	p := &feed.Ping{Nonce: "n", Checkpoint: note}
	if c, err := audit.ParseNote(note); err == nil {
		p.CheckpointSize = c.Size
	}
	return p
}

// Each Pong shows, to the checkpoint that its Ping named, that the record goes on.
func TestP9_PongsShowThatTheRecordGoesOn(t *testing.T) {
	w := newWorld(t)
	one, two := w.join("1"), w.join("2")
	first := must(w.Checkpoint(t.Context()))
	w.granted()
	second := must(w.Checkpoint(t.Context()))
	w.granted()
	pulse := must(w.Source().Beat(t.Context(), []feed.Beat{{Instance: one, Ping: names(first)}, {Instance: two, Ping: names(second)}}))
	now := must(audit.ParseNote(pulse.Checkpoint))
	for _, kept := range [][]byte{first, second} {
		from := must(audit.ParseNote(kept))
		var proof []audit.Hash
		for _, h := range pulse.Consistency[from.Size] {
			proof = append(proof, audit.Hash(h))
		}
		if err := audit.CheckTree(proof, now, from); err != nil || from.Size >= now.Size {
			t.Errorf("from %d to %d: %v", from.Size, now.Size, err)
		}
	}
	pulse = must(w.Source().Beat(t.Context(), []feed.Beat{
		{Instance: one, Ping: names(pulse.Checkpoint)}, {Instance: two, Ping: &feed.Ping{Nonce: "n", CheckpointSize: 1 << 40}}}))
	if len(pulse.Consistency) != 0 {
		t.Errorf("proofs of what needs none, or is not there: %v", pulse.Consistency)
	}
}

// counting counts the trees that are proven: reads of hashes outside of a write.
type counting struct {
	access.Store
	proofs *atomic.Int64
}

func (c counting) View(ctx context.Context, f func(access.Tx) error) error {
	return c.Store.View(ctx, func(tx access.Tx) error { return f(countingTx{tx, c.proofs}) })
}

type countingTx struct {
	access.Tx
	proofs *atomic.Int64
}

func (c countingTx) Log() audit.Storage { return countingLog{c.Tx.Log(), c.proofs} }

type countingLog struct {
	audit.Storage
	proofs *atomic.Int64
}

func (c countingLog) ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	c.proofs.Add(1)
	return c.Storage.ReadHashes(ctx, indexes)
}

// Many gateways keep a few checkpoints between them: each is proven once a batch, by one
// read, and not while the writer's lock is held.
func TestManyPingsNeedAFewProofs(t *testing.T) {
	var proofs atomic.Int64
	w := newWorldOver(t, func(s access.Store) access.Store { return counting{s, &proofs} })
	var kept [][]byte
	for range 3 {
		w.granted()
		kept = append(kept, must(w.Checkpoint(t.Context())))
	}
	w.granted()
	var beats []feed.Beat
	for n, run := range "0123456789abcdef" {
		beats = append(beats, feed.Beat{Instance: w.join(string(run)), Ping: names(kept[n%len(kept)])})
	}
	proofs.Store(0)
	pulse := must(w.Source().Beat(t.Context(), beats))
	if len(pulse.Consistency) != len(kept) || proofs.Load() != int64(len(kept)) {
		t.Errorf("%d proofs by %d reads, want %d", len(pulse.Consistency), proofs.Load(), len(kept))
	}
}

// What gateways keep, and do not believe, is shown to the security group; one that has
// seen more than there is tells that the database is an older copy.
func TestP9_WhatGatewaysKeepIsShown(t *testing.T) {
	w := newWorld(t)
	one, two := w.join("1"), w.join("2")
	note := must(w.Checkpoint(t.Context()))
	size := must(audit.ParseNote(note)).Size
	root := audit.SHA256([]byte("another history"))
	ahead := must(w.signing.Sign(size+100, root))
	doubt := names(note)
	doubt.Doubt = "two checkpoints of 7 entries have different roots"
	must(w.Source().Beat(t.Context(), []feed.Beat{{Instance: one, Ping: names(ahead)}, {Instance: two, Ping: doubt}}))
	shown := func() map[feed.Instance]access.Keeps {
		t.Helper()
		out := map[feed.Instance]access.Keeps{}
		for _, i := range must(w.Nodes(t.Context(), w.as(dave))).Instances {
			out[i.ID] = i.Keeps
		}
		return out
	}
	got := shown()
	if k := got[one]; !k.Ahead || k.Size != size+100 || !bytes.Equal(k.Note, ahead) {
		t.Errorf("ahead: %+v", k)
	}
	if k := got[two]; k.Ahead || k.Doubt != doubt.Doubt || k.Size != size || !bytes.Equal(k.Note, note) {
		t.Errorf("doubting: %+v", k)
	}
	if w.Doubting() != 2 {
		t.Errorf("%d doubt, want 2", w.Doubting())
	}

	// A subscription tells too: whoever refuses the snapshot sends no Ping.
	three := w.instance("3")
	must(w.Source().Join(t.Context(), three, &feed.Subscribe{Instance: three.String(), Checkpoint: ahead, Doubt: "set back"}))
	if k := shown()[three]; !k.Ahead || k.Doubt != "set back" {
		t.Errorf("subscribing: %+v", k)
	}

	// What nobody signed alarms nobody, and who is content again is not counted.
	forged := append([]byte(nil), ahead...)
	forged[len(forged)-5] ^= 1
	must(w.Source().Beat(t.Context(), []feed.Beat{{Instance: one, Ping: names(forged)}, {Instance: two, Ping: names(note)}, {Instance: three, Ping: names(note)}}))
	if got := shown(); got[one].Ahead || w.Doubting() != 0 {
		t.Errorf("%+v, %d doubt", got[one], w.Doubting())
	}
}
