package feed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// After an outage a thousand instances ask for the same snapshot at once. One
// reading of the Source, encoded once, serves all that asked before it began; there
// is one reading at a time, and a few snapshots are on their way at once, so that
// some instances decide again soon instead of all of them late.

const (
	partBytes    = 256 << 10 // of resources in one SnapshotPart
	pictureLimit = time.Minute
	atOnce       = 32 // snapshots on their way
)

// picture is one snapshot, encoded for all streams that wait for it.
type picture struct {
	apps  []string
	done  chan struct{} // closed when the others are set
	at    Position
	parts []*SyncResponse // raw
	err   error
}

// picture returns a snapshot whose reading began after the call did: what st joined
// with is not ahead of it.
func (s *Server) picture(st *stream) (*picture, error) {
	p := s.expect(st.apps)
	select {
	case <-st.ctx.Done():
		return nil, context.Cause(st.ctx)
	case <-p.done:
	case s.camera <- struct{}{}:
		if s.claim(p) {
			p.err = s.read(st, p)
			close(p.done)
		}
		<-s.camera
	}
	select {
	case <-p.done: // by whoever claimed it
		return p, p.err
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
		p = &picture{apps: apps, done: make(chan struct{})}
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

// read fills p. It goes on though st ends: others wait for it.
func (s *Server) read(st *stream, p *picture) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), pictureLimit)
	defer cancel()
	snap, err := s.source.Snapshot(ctx, p.apps)
	if err != nil {
		return s.face(err, "snapshot", st.instance)
	}
	p.at = snap.At
	part, size := &SnapshotPart{Epoch: snap.At.Epoch, Revision: snap.At.Revision}, 0
	for _, r := range snap.Resources {
		n := proto.Size(r)
		if size > 0 && size+n > partBytes {
			if err := p.add(part); err != nil {
				return err
			}
			part, size = &SnapshotPart{Epoch: snap.At.Epoch, Revision: snap.At.Revision}, 0
		}
		part.Resources, size = append(part.Resources, r), size+n
	}
	part.Last, part.Apps = true, p.apps
	return p.add(part)
}

func (p *picture) add(part *SnapshotPart) error {
	m, err := raw(&SyncResponse{Message: &SyncResponse_Snapshot{Snapshot: part}})
	if err != nil {
		return fmt.Errorf("snapshot at %d: %w", p.at.Revision, err)
	}
	p.parts = append(p.parts, m)
	return nil
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
// not take it in time makes room for the next.
func (st *stream) snapshot(from Position) error {
	p, err := st.server.picture(st)
	if err == nil && p.at.Before(from) {
		err = st.server.face(fmt.Errorf("it is of %d, and changes are told from %d on", p.at.Revision, from.Revision), "snapshot", st.instance)
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
	late := time.AfterFunc(pictureLimit, func() { st.end(codes.ResourceExhausted, "the instance does not take its snapshot") })
	defer late.Stop()
	st.skip = p.at
	for _, m := range p.parts {
		if err := st.rpc.Send(m); err != nil {
			return err
		}
	}
	return nil
}
