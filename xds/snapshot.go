package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Snapshot is the whole dynamic configuration of one node.
type Snapshot struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
}

// Build makes the configuration of g. It is pure: the same gateway gives the same
// bytes, whatever the order of its apps, so an unchanged part is never sent again.
// A node without apps listens to nobody, and at no door that none of them answers at.
func Build(g Gateway) (*Snapshot, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	g.Apps = slices.Clone(g.Apps)
	slices.SortFunc(g.Apps, func(a, b App) int { return strings.Compare(a.Name, b.Name) })
	for i := range g.Apps {
		g.Apps[i].Hosts = slices.Sorted(slices.Values(g.Apps[i].Hosts))
		g.Apps[i].IdentityHeaders = slices.Sorted(slices.Values(g.Apps[i].IdentityHeaders))
	}
	b := &builder{}
	s := &Snapshot{Clusters: b.clusters(g)}
	for _, door := range doors() {
		if l := b.listener(g, door); len(l.GetFilterChains()) > 0 {
			s.Listeners = append(s.Listeners, l)
			s.Routes = append(s.Routes, b.routes(g, door))
		}
	}
	if b.err != nil {
		return nil, fmt.Errorf("building the configuration: %w", b.err)
	}
	return s, nil
}

// builder packs typed_config fields and keeps the first error.
type builder struct{ err error }

// any packs m with map keys in a fixed order: Envoy compares listeners by the hash
// of their bytes, and a changed order would drain live connections.
func (b *builder) any(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil && b.err == nil {
		b.err = err
	}
	return out
}

// versions names the content of each resource type.
type versions map[resource.Type]string

func (s *Snapshot) resources() map[resource.Type][]types.Resource {
	out := map[resource.Type][]types.Resource{resource.ListenerType: {}, resource.RouteType: {}, resource.ClusterType: {}}
	for _, l := range s.Listeners {
		out[resource.ListenerType] = append(out[resource.ListenerType], l)
	}
	for _, r := range s.Routes {
		out[resource.RouteType] = append(out[resource.RouteType], r)
	}
	for _, c := range s.Clusters {
		out[resource.ClusterType] = append(out[resource.ClusterType], c)
	}
	return out
}

// cached returns s as go-control-plane serves it, each type under a version made
// from its content, after checking that every route that is referred to is there.
func (s *Snapshot) cached() (*cache.Snapshot, versions, error) {
	out, vs := &cache.Snapshot{}, versions{}
	for typ, list := range s.resources() {
		v, err := digest(list)
		if err != nil {
			return nil, nil, err
		}
		if typ != resource.RouteType || len(list) > 0 {
			vs[typ] = v // nobody asks for routes when no listener needs them
		}
		out.Resources[cache.GetResponseType(typ)] = cache.NewResources(v, list)
	}
	if err := out.Consistent(); err != nil {
		return nil, nil, fmt.Errorf("the configuration does not hold together: %w", err)
	}
	if err := out.ConstructVersionMap(); err != nil {
		return nil, nil, err
	}
	return out, vs, nil
}

func digest(list []types.Resource) (string, error) {
	h := sha256.New()
	for _, r := range list {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n", len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// String returns one version for all types, for people to compare.
func (v versions) String() string {
	h := sha256.New()
	for _, typ := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType} {
		fmt.Fprintln(h, typ, v[typ])
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
