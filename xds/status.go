package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/mayflyproxy/mayfly/identity"
)

// forgetAfter is when an instance that is gone leaves the list (contracts §2).
const forgetAfter = 24 * time.Hour

// Status is how far one instance's Envoy has come. It is a copy.
type Status struct {
	Node      Node
	Listener  identity.Principal // who opened the stream
	Connected bool
	Since     time.Time // of the newest connection, or of its end
	Version   string    // of the configuration that it should have; "" if none could be made
	Applied   string    // of the newest configuration that it has taken whole; "" if none yet
	NACK      string    // Envoy's words for the newest refusal, "" once it takes a configuration again
	NACKAt    time.Time
	Problem   string // why the newest configuration was not sent, e.g. the lint's finding
	ProblemAt time.Time
	// Uncovered are the hosts of its apps that people cannot reach here: the sidecar
	// has no certificate for them, or no address for people. It is no problem of the
	// configuration, which goes out without them.
	Uncovered []string
}

// InSync reports whether the node has all that it should have.
func (s Status) InSync() bool {
	return s.Connected && s.Version != "" && s.Applied == s.Version && s.NACK == "" && s.Problem == ""
}

// nodeState is what the server keeps of one instance, under the server's mutex.
type nodeState struct {
	Status
	wanted versions
	acked  versions
	// refused are the resources of each type whose newest content Envoy did not
	// take: those of two doors come one by one, and one may be taken without the other.
	refused map[string]map[string]bool
	routes  map[string]string // version of each route configuration, as go-control-plane counts them
	stream  *stream           // nil when gone
}

// answered notes that Envoy took what was sent, or why it did not.
func (n *nodeState) answered(typ string, sent sending, nack string, now time.Time) {
	if nack != "" {
		n.NACK, n.NACKAt = clip(typeName(typ)+": "+nack), now
		for _, name := range sent.names {
			n.refuse(typ, name)
		}
		return
	}
	for _, name := range sent.names {
		delete(n.refused[typ], name)
	}
	n.acked[typ] = sent.version
	n.settle()
}

func (n *nodeState) refuse(typ, name string) {
	if n.refused == nil {
		n.refused = map[string]map[string]bool{}
	}
	if n.refused[typ] == nil {
		n.refused[typ] = map[string]bool{}
	}
	n.refused[typ][name] = true
}

// settle takes the version as applied once each of its types was acknowledged.
func (n *nodeState) settle() {
	for typ, want := range n.wanted {
		if n.acked[typ] != want || len(n.refused[typ]) > 0 {
			return
		}
	}
	if n.Version != "" {
		n.Applied, n.NACK, n.NACKAt = n.Version, "", time.Time{}
	}
}

func typeName(typ string) string {
	switch typ {
	case resource.ListenerType:
		return "listeners"
	case resource.RouteType:
		return "routes"
	case resource.ClusterType:
		return "clusters"
	default:
		return "unknown"
	}
}

// Statuses lists every instance that is connected or was within a day, by id.
func (s *Server) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	out := make([]Status, 0, len(s.nodes))
	for _, n := range s.nodes {
		s := n.Status
		s.Uncovered, s.Node.PeopleHosts = slices.Clone(s.Uncovered), slices.Clone(s.Node.PeopleHosts)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Node.ID, b.Node.ID) })
	return out
}

func (s *Server) forget() {
	for id, n := range s.nodes {
		if n.stream == nil && s.cfg.Now().Sub(n.Since) > forgetAfter {
			delete(s.nodes, id)
		}
	}
}
