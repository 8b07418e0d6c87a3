package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/identity"
)

// instanceBytes is the length of the part of an instance id after the #: 128 bits
// in hexadecimal (contracts §2).
const instanceChars = 32

// Node is what an Envoy says of itself when its ADS stream opens. Only the part
// before the # is ever proven, by the certificate of the stream.
type Node struct {
	ID              string             // instance id: <sidecar SPIFFE ID>#<128 bits>
	Sidecar         identity.Principal // the SPIFFE part of ID
	ServicesAddress netip.AddrPort
	PeopleAddress   netip.AddrPort // zero: it takes no people
	ClientsAddress  netip.AddrPort // zero: it takes no clients
	PeopleHosts     []string       // that it has certificates for
	RunDir          string
	Version         string // of the sidecar, for display only
	Envoy           string // of Envoy, for display only
}

// parseNode reads the node of a first request. It proves nothing.
func parseNode(n *corev3.Node) (Node, error) {
	if n.GetId() == "" {
		return Node{}, errors.New("the first request names no node")
	}
	out := Node{ID: n.GetId()}
	spiffe, rest, ok := strings.Cut(out.ID, "#")
	if !ok || !isHex(rest, instanceChars) {
		return Node{}, fmt.Errorf("node id %q: want <sidecar SPIFFE ID>#<%d hexadecimal digits>", out.ID, instanceChars)
	}
	var err error
	if out.Sidecar, err = identity.ParsePrincipal(spiffe); err != nil || out.Sidecar.Kind() != identity.KindWorkload {
		return Node{}, fmt.Errorf("node id %q: %q is not the SPIFFE ID of a workload", out.ID, spiffe)
	}
	fields := n.GetMetadata().GetFields()
	out.RunDir = fields[MetaRunDir].GetStringValue()
	if err := checkRunDir(out.RunDir); err != nil {
		return Node{}, fmt.Errorf("node %q: %w", out.ID, err)
	}
	address := fields[MetaServicesAddress].GetStringValue()
	if out.ServicesAddress, err = netip.ParseAddrPort(address); err != nil {
		return Node{}, fmt.Errorf("node %q: services address %q: want IP:port", out.ID, address)
	}
	if err := out.parseWeb(fields); err != nil {
		return Node{}, fmt.Errorf("node %q: %w", out.ID, err)
	}
	out.Version = clip(fields[MetaVersion].GetStringValue())
	v := n.GetUserAgentBuildVersion().GetVersion()
	out.Envoy = fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	return out, nil
}

// parseWeb reads what a node that takes people or clients says of itself.
func (n *Node) parseWeb(fields map[string]*structpb.Value) (err error) {
	for name, into := range map[string]*netip.AddrPort{MetaPeopleAddress: &n.PeopleAddress, MetaClientsAddress: &n.ClientsAddress} {
		if address := fields[name].GetStringValue(); address != "" {
			if *into, err = netip.ParseAddrPort(address); err != nil {
				return fmt.Errorf("%s %q: want IP:port", name, clip(address))
			}
		}
	}
	for _, v := range fields[MetaPeopleHosts].GetListValue().GetValues() {
		n.PeopleHosts = append(n.PeopleHosts, v.GetStringValue())
	}
	return checkWeb(n.PeopleAddress, n.ClientsAddress, n.PeopleHosts)
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

// clip bounds text that a node chose, for display.
func clip(s string) string {
	const limit = 2048
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
