package xds

import (
	"fmt"
	"slices"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/identity"
)

type deltaStream = discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// stream stands between go-control-plane and a real stream: it binds the stream to
// one node before anything else happens, keeps count of what was acknowledged, and
// can be cut.
type stream struct {
	deltaStream
	server *Server
	peer   identity.Principal

	requests chan received
	done     chan struct{} // closed by cut

	mu   sync.Mutex
	node *Node
	err  error              // why the stream ends
	sent map[string]sending // by nonce: answers not yet acknowledged
}

// sending is one answer on its way.
type sending struct {
	version string
	names   []string // of the resources that it brings or takes away
}

type received struct {
	req *discovery.DeltaDiscoveryRequest
	err error
}

func newStream(s *Server, real deltaStream, peer identity.Principal) *stream {
	st := &stream{
		deltaStream: real, server: s, peer: peer,
		requests: make(chan received), done: make(chan struct{}), sent: map[string]sending{},
	}
	go st.pump()
	return st
}

// pump reads the real stream, so that Recv can give up when the stream is cut. It
// ends with the stream: returning from the handler ends the stream's context.
func (st *stream) pump() {
	for {
		req, err := st.deltaStream.Recv()
		select {
		case st.requests <- received{req, err}:
		case <-st.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// cut ends the stream with err. Only the first call counts.
func (st *stream) cut(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = err
		close(st.done)
	}
}

func (st *stream) reason() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

func (st *stream) nodeID() string { return st.boundNode().ID }

func (st *stream) boundNode() Node {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.node == nil {
		return Node{}
	}
	return *st.node
}

// Recv returns the next request that this stream may make.
func (st *stream) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	select {
	case <-st.done:
		return nil, st.reason()
	case <-st.Context().Done():
		return nil, st.Context().Err()
	case r := <-st.requests:
		if r.err != nil {
			return nil, r.err
		}
		if err := st.admit(r.req); err != nil {
			st.cut(err)
			return nil, err
		}
		return r.req, nil
	}
}

// admit binds the first request's node and holds all others to it.
func (st *stream) admit(req *discovery.DeltaDiscoveryRequest) error {
	switch req.GetTypeUrl() {
	case resource.ListenerType, resource.RouteType, resource.ClusterType:
	default:
		return status.Errorf(codes.InvalidArgument, "no resources of type %q here", req.GetTypeUrl())
	}
	bound := st.nodeID()
	if bound != "" {
		if id := req.GetNode().GetId(); id != "" && id != bound {
			return status.Error(codes.PermissionDenied, "a stream belongs to one node")
		}
		st.note(req)
		return nil
	}
	n, err := parseNode(req.GetNode())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	st.mu.Lock()
	st.node = &n
	st.mu.Unlock()
	if err := st.server.join(st, n); err != nil {
		return err
	}
	return nil
}

// note takes a request as the answer to what was sent.
func (st *stream) note(req *discovery.DeltaDiscoveryRequest) {
	st.mu.Lock()
	sent, ok := st.sent[req.GetResponseNonce()]
	delete(st.sent, req.GetResponseNonce())
	st.mu.Unlock()
	if !ok {
		st.server.resumed(st, req)
		return
	}
	nack := ""
	if d := req.GetErrorDetail(); d != nil {
		nack = fmt.Sprintf("%s (code %d)", d.GetMessage(), d.GetCode())
	}
	st.server.answered(st, req.GetTypeUrl(), sent, nack)
}

// Send remembers under its nonce what leaves.
func (st *stream) Send(resp *discovery.DeltaDiscoveryResponse) error {
	out := sending{version: resp.GetSystemVersionInfo(), names: slices.Clone(resp.GetRemovedResources())}
	for _, r := range resp.GetResources() {
		out.names = append(out.names, r.GetName())
	}
	st.mu.Lock()
	st.sent[resp.GetNonce()] = out
	st.mu.Unlock()
	return st.deltaStream.Send(resp)
}
