package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// After an outage a thousand instances ask for the same snapshot at once. One
// reading of the Source, encoded once, serves all that asked before it began; there
// is one reading at a time, and a few snapshots are on their way at once, so that
// some instances decide again soon instead of all of them late. What is read is sent
// while the rest is being read: reading and taking in each need about the same time.

const (
	partBytes    = 256 << 10   // of resources in one SnapshotPart
	pictureLimit = time.Minute // for reading one, and as long for taking it
	atOnce       = 32          // snapshots on their way
)

// picture is one snapshot, encoded for all streams that wait for it. They send its first
// parts while the rest is still being read.
type picture struct {
	apps  []string
	begun chan struct{} // closed when at is set, or the reading has failed before

	mu    sync.Mutex
	at    Position
	parts []*SyncResponse // raw
	over  bool            // all parts are there, or err is set
	err   error
	news  chan struct{} // closed, and made anew, when one of these changes
}

func newPicture(apps []string) *picture {
	return &picture{apps: apps, begun: make(chan struct{}), news: make(chan struct{})}
}

// picture returns a snapshot whose reading began after the call did: what st joined
// with is not ahead of it.
func (s *Server) picture(st *stream) (*picture, error) {
	p := s.expect(st.apps)
	select {
	case <-st.ctx.Done():
		return nil, context.Cause(st.ctx)
	case <-p.begun:
	case s.camera <- struct{}{}:
		if s.claim(p) {
			s.streams.Go(func() {
				defer func() { <-s.camera }()
				p.end(s.read(st, p))
			})
		} else {
			<-s.camera
		}
	}
	select {
	case <-p.begun: // by whoever claimed it
		return p, nil
	case <-st.ctx.Done():
		return nil, context.Cause(st.ctx)
	}
}

// expect returns the next picture of these apps, which nobody reads yet.
func (s *Server) expect(apps []string) *picture {
	key := strings.Join(apps, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.expected[key]
	if p == nil {
		p = newPicture(apps)
		s.expected[key] = p
	}
	return p
}

// claim reports whether p is the caller's to read: from now on others expect the
// one after it.
func (s *Server) claim(p *picture) bool {
	key := strings.Join(p.apps, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expected[key] != p {
		return false
	}
	delete(s.expected, key)
	return true
}

// read fills p. It goes on though st ends: others wait for it. The Source is never kept
// waiting by a stream.
func (s *Server) read(st *stream, p *picture) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), pictureLimit)
	defer cancel()
	var part *SnapshotPart
	size := 0
	err := s.source.Snapshot(ctx, p.apps, func(at Position, resources []*Resource) error {
		if part == nil {
			part = &SnapshotPart{Epoch: at.Epoch, Revision: at.Revision}
			p.begin(at)
		}
		for _, r := range resources {
			n := proto.Size(r)
			if size > 0 && size+n > partBytes {
				if err := p.add(part); err != nil {
					return err
				}
				part, size = &SnapshotPart{Epoch: at.Epoch, Revision: at.Revision}, 0
			}
			part.Resources, size = append(part.Resources, r), size+n
		}
		return nil
	})
	if err == nil && part == nil {
		err = errors.New("a snapshot without a position")
	}
	if err != nil {
		return s.face(err, "snapshot", st.instance)
	}
	part.Last, part.Apps = true, p.apps
	return p.add(part)
}

// begin says of which position p is.
func (p *picture) begin(at Position) {
	p.mu.Lock()
	p.at = at
	p.mu.Unlock()
	close(p.begun)
}

func (p *picture) add(part *SnapshotPart) error {
	m, err := raw(&SyncResponse{Message: &SyncResponse_Snapshot{Snapshot: part}})
	if err != nil {
		return fmt.Errorf("snapshot at %d: %w", part.GetRevision(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts = append(p.parts, m)
	p.tell()
	return nil
}

// end says that no part follows: nil if p is whole.
func (p *picture) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over, p.err = true, err
	p.tell()
	select {
	case <-p.begun:
	default:
		close(p.begun)
	}
}

// tell wakes those that wait. It is called under p.mu.
func (p *picture) tell() {
	close(p.news)
	p.news = make(chan struct{})
}

// part returns the part of that number, once it was read: nil behind the last one.
func (p *picture) part(ctx context.Context, n int) (*SyncResponse, error) {
	for {
		p.mu.Lock()
		parts, over, err, news := p.parts, p.over, p.err, p.news
		p.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case n < len(parts):
			return parts[n], nil
		case over:
			return nil, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// position returns of which position p is, once it has begun.
func (p *picture) position() (Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, p.err
}

// raw encodes m once. The bytes stand in a response as if they were fields not known
// here, so that sending it to many streams only copies them. gRPC's own prepared
// messages would carry one stream's compression to all others.
func raw(m *SyncResponse) (*SyncResponse, error) {
	bytes, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := &SyncResponse{}
	out.ProtoReflect().SetUnknown(bytes)
	return out, nil
}

// snapshot sends all that the instance holds, in parts. It is told the changes after
// from: what a snapshot from before that lacks, it would never hear of. One that does
// not take it in time makes room for the next. A reading that fails ends the stream:
// what was sent of it counts for nothing (contracts §2).
func (st *stream) snapshot(from Position) error {
	p, err := st.server.picture(st)
	if err != nil {
		return err
	}
	at, err := p.position()
	if err == nil && at.Before(from) {
		err = st.server.face(fmt.Errorf("it is of %d, and changes are told from %d on", at.Revision, from.Revision), "snapshot", st.instance)
	}
	if err != nil {
		return err
	}
	select {
	case st.server.sending <- struct{}{}:
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	}
	defer func() { <-st.server.sending }()
	late := time.AfterFunc(2*pictureLimit, func() { st.end(codes.ResourceExhausted, "the instance does not take its snapshot") })
	defer late.Stop()
	st.skip = at
	for n := 0; ; n++ {
		m, err := p.part(st.ctx, n)
		if m == nil || err != nil {
			return err
		}
		if err := st.rpc.Send(m); err != nil {
			return err
		}
	}
}
