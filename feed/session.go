package feed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// session is one stream of a Client. One goroutine owns it and calls the Sink;
// another only receives.
type session struct {
	*Client
	rpc     Feed_SyncClient
	quiet   *time.Timer     // ends the session when no Pong counts for long
	synced  bool            // what the Sink holds is what this stream builds on
	first   bool            // this stream began with a position
	filling *filling        // a snapshot that is not whole yet
	deltas  uint64          // received
	pings   []sent          // unanswered, oldest first
	heard   bool            // a Pong counted
	inbound <-chan received // from the receiving goroutine
}

// filling is a snapshot that is on its way into the Sink.
type filling struct {
	Filling
	at     Position
	refuse refusals // what the Sink has to refuse of it
}

type sent struct {
	nonce string
	boot  time.Duration
	at    Position // applied when it was sent
	acks  int      // Acks sent before it
	kept  []byte   // the checkpoint that it named
}

type received struct {
	m   *SyncResponse
	err error
}

var (
	errResync  = errors.New("what is held no longer fits the feed")
	errSilence = errors.New("no pong that counts for too long")
)

// session runs one stream until it fails; heard says whether a Pong counted.
func (c *Client) session(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := c.rpc.Sync(ctx)
	if err != nil {
		return false, fmt.Errorf("open stream: %w", err)
	}
	inbound, done := make(chan received), make(chan struct{})
	go receive(ctx, stream, inbound, done)
	defer func() { cancel(nil); <-done }()
	s := &session{Client: c, rpc: stream, inbound: inbound}
	s.quiet = time.AfterFunc(snapshotSilence, func() { cancel(errSilence) })
	defer s.quiet.Stop()
	err = s.run(ctx)
	if status.Code(err) == codes.DataLoss { // the server's word for: what is held is not what was told
		err = fmt.Errorf("%w: %w", errResync, err)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errResync) {
		c.resync = true
	}
	return s.heard, err
}

func receive(ctx context.Context, stream Feed_SyncClient, to chan<- received, done chan<- struct{}) {
	defer close(done)
	for {
		m, err := stream.Recv()
		select {
		case to <- received{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) run(ctx context.Context) error {
	if err := s.subscribe(); err != nil {
		return err
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			err = s.ping()
		case r := <-s.inbound:
			if r.err != nil {
				return fmt.Errorf("receive: %w", r.err)
			}
			err = s.take(ctx, r.m)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) subscribe() error {
	sub, resuming := s.subscription()
	s.first = resuming
	if err := s.rpc.Send(&SyncRequest{Message: &SyncRequest_Subscribe{Subscribe: sub}}); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if !resuming {
		return nil
	}
	s.synced = true
	if s.acks > 0 {
		if err := s.rpc.Send(&SyncRequest{Message: &SyncRequest_Ack{Ack: s.unheard.Ack()}}); err != nil {
			return fmt.Errorf("acknowledge again: %w", err)
		}
	}
	return s.ping()
}

// ping sends a sign of life. Its time is read before it is sent: freshness
// counts from there, however long it lies in buffers.
func (s *session) ping() error {
	if !s.synced {
		return nil
	}
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	at, _ := s.c.Sink.Position()
	p := &Ping{Nonce: hex.EncodeToString(nonce[:]), Epoch: at.Epoch, Revision: at.Revision}
	s.c.Sink.Describe(p)
	s.digestsOfNothing(p)
	s.pings = append(s.pings, sent{p.Nonce, s.c.BootNow(), at, s.acks, p.Checkpoint})
	if len(s.pings) > maxPings {
		s.pings = s.pings[1:]
	}
	if err := s.rpc.Send(&SyncRequest{Message: &SyncRequest_Ping{Ping: p}}); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// digestsOfNothing completes the digests: what is missing is held of no app.
func (s *session) digestsOfNothing(p *Ping) {
	if p.Digests == nil {
		return
	}
	for _, app := range append(slices.Clone(s.apps), Everyone) {
		if len(p.Digests[app]) == 0 {
			p.Digests[app] = Digest{}.Bytes()
		}
	}
}

func (s *session) take(ctx context.Context, m *SyncResponse) error {
	switch x := m.GetMessage().(type) {
	case *SyncResponse_Snapshot:
		return s.part(ctx, x.Snapshot)
	case *SyncResponse_Delta:
		return s.delta(ctx, x.Delta)
	case *SyncResponse_Pong:
		return s.pong(x.Pong)
	default:
		return nil // of a newer server; whatever it changes shows in the count of deltas
	}
}

// part hands a part of a snapshot to the Sink, where it is swapped in whole at its last
// part. One that breaks off is forgotten with the session.
func (s *session) part(ctx context.Context, p *SnapshotPart) error {
	switch {
	case unknownAround(p):
		s.alarm("a snapshot has a field that this binary does not know; it is refused", "revision", p.GetRevision())
		return fmt.Errorf("%w: a snapshot has a field that is not known", errResync)
	case s.synced && !s.first, s.deltas > 0:
		return fmt.Errorf("%w: a snapshot in the middle of a stream", errResync)
	case s.filling == nil:
		if err := s.fill(Position{p.GetEpoch(), p.GetRevision()}); err != nil {
			return err
		}
	case s.filling.at != Position{p.GetEpoch(), p.GetRevision()}:
		return fmt.Errorf("%w: the parts of a snapshot are of two positions", errResync)
	}
	s.quiet.Reset(snapshotSilence)
	s.filling.refuse.look(p.GetResources(), s.c.Reader)
	s.filling.Add(p.GetResources())
	if !p.GetLast() {
		return nil
	}
	snap := s.filling
	s.filling, s.first = nil, false
	r, nacks, err := snap.Swap(ctx)
	if err != nil {
		return s.refused(snap.at, err)
	}
	r, s.unheard = s.unheard.Merge(r), Receipt{} // what an earlier stream may have lost
	if err := s.answer(r, nacks, snap.refuse); err != nil {
		return err
	}
	s.synced, s.resync, s.apps = true, false, p.GetApps()
	s.quiet.Reset(silence)
	return s.ping()
}

// fill begins a snapshot: what is held is no longer what this stream builds on.
func (s *session) fill(at Position) error {
	s.synced = false
	into, err := s.c.Sink.Fill(at)
	if err != nil {
		return s.refused(at, err)
	}
	s.filling = &filling{Filling: into, at: at}
	return nil
}

func (s *session) refused(at Position, err error) error {
	s.alarm("the snapshot was refused", "epoch", at.Epoch, "revision", at.Revision, "error", err)
	return fmt.Errorf("%w: swap: %w", errResync, err)
}

func (s *session) delta(ctx context.Context, d *Delta) error {
	held, _ := s.c.Sink.Position()
	if at := (Position{d.GetEpoch(), d.GetRevision()}); !s.synced || at.Epoch != held.Epoch || !held.Before(at) {
		s.alarm("a change does not follow what is held; it is refused", "epoch", at.Epoch, "revision", at.Revision, "held", held.Revision)
		return fmt.Errorf("%w: delta %d.%d after %d.%d", errResync, at.Epoch, at.Revision, held.Epoch, held.Revision)
	}
	if unknownAround(d) {
		s.alarm("a change has a field that this binary does not know; it is refused", "revision", d.GetRevision())
		return fmt.Errorf("%w: delta %d has a field that is not known", errResync, d.GetRevision())
	}
	s.first = false
	s.deltas++
	r, nacks, err := s.c.Sink.Apply(ctx, d)
	if err != nil {
		return fmt.Errorf("%w: apply %d: %w", errResync, d.GetRevision(), err)
	}
	var refuse refusals
	refuse.look(d.GetResources(), s.c.Reader)
	if err := s.answer(r, nacks, refuse); err != nil {
		return err
	}
	if slices.ContainsFunc(d.GetResources(), func(r *Resource) bool { return r.GetGrant().GetRecorded() != nil }) {
		return s.ping() // at once: a grant with a proof counts once its leaf was shown
	}
	return nil
}

// answer acknowledges what the Sink took in, and refuses what it refused.
func (s *session) answer(r Receipt, nacks []*Nack, refuse refusals) error {
	if err := refuse.check(nacks); err != nil {
		return err
	}
	for _, n := range nacks {
		n.Revision = r.At.Revision
		s.c.Log.Warn("resource refused", "kind", n.GetKind(), "id", n.GetId(), "reason", n.GetReason(), "detail", n.GetDetail())
		if err := s.rpc.Send(&SyncRequest{Message: &SyncRequest_Nack{Nack: n}}); err != nil {
			return fmt.Errorf("refuse: %w", err)
		}
	}
	r.Instance = s.c.Instance
	s.unheard, s.acks = s.unheard.Merge(r), s.acks+1
	if err := s.rpc.Send(&SyncRequest{Message: &SyncRequest_Ack{Ack: r.Ack()}}); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// refusals are what a Sink has to refuse: what this binary does not understand is not
// held.
type refusals []*Nack

func (f *refusals) look(resources []*Resource, reader uint32) {
	for _, r := range resources {
		if n := Unsupported(r, reader); n != nil {
			*f = append(*f, n)
		}
	}
}

// check holds the Sink to its contract.
func (f refusals) check(nacks []*Nack) error {
	refused := map[string]bool{}
	for _, n := range nacks {
		refused[n.GetKind()+"\x00"+n.GetId()] = true
	}
	for _, n := range f {
		if !refused[n.GetKind()+"\x00"+n.GetId()] {
			return fmt.Errorf("%w: %s %s is held though it is not understood", errResync, n.GetKind(), n.GetId())
		}
	}
	return nil
}

// pong renews the lease if p answers a Ping of this stream and everything up to
// its head is applied.
func (s *session) pong(p *Pong) error {
	ping, ok := s.answered(p.GetNonce())
	if !ok {
		s.alarm("a pong answers no ping of this stream; it is ignored", "nonce", p.GetNonce())
		return nil
	}
	head := Position{p.GetEpoch(), p.GetHead()}
	held, _ := s.c.Sink.Position()
	switch {
	case !s.synced:
		return nil
	case p.GetDeltas() != s.deltas:
		return fmt.Errorf("%w: %d of %d deltas arrived", errResync, s.deltas, p.GetDeltas())
	case head.Before(ping.at):
		s.alarm("the control plane's head is before what it told; the pong is ignored", "head", head.Revision, "applied", ping.at.Revision)
		return nil
	case head.Epoch != held.Epoch:
		s.alarm("the control plane is in another epoch; the pong is ignored", "epoch", head.Epoch, "held", held.Epoch)
		return fmt.Errorf("%w: epoch %d after %d", errResync, head.Epoch, held.Epoch)
	case p.GetCompleteTo() < head.Revision:
		return nil
	}
	if err := s.c.Sink.Extends(ping.kept, p); err != nil {
		s.c.Log.Warn("a pong does not count: another record than this gateway has seen", "error", err)
		return nil
	}
	if held.Before(head) {
		if err := s.c.Sink.Advance(head); err != nil {
			return fmt.Errorf("%w: advance to %d: %w", errResync, head.Revision, err)
		}
	}
	if err := s.c.Sink.Ponged(ping.boot, p); err != nil {
		return fmt.Errorf("pong: %w", err)
	}
	s.heard, s.first = true, false
	s.quiet.Reset(silence)
	if ping.acks == s.acks {
		s.unheard, s.acks = Receipt{}, 0
		for i := range s.pings {
			s.pings[i].acks = 0
		}
	}
	return nil
}

// answered takes the Ping with that nonce, and those before it, off the list.
func (s *session) answered(nonce string) (sent, bool) {
	for i, p := range s.pings {
		if p.nonce == nonce {
			s.pings = s.pings[i+1:]
			return p, true
		}
	}
	return sent{}, false
}
