package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// ReAdds reports whether an app that is new by this comparison was there under an
// earlier policy: by its name, a host, its upstream, a secret or a workload. Removing
// an app narrows, and adding one gains nothing on those that are there; done one after
// the other they would replace an app, and neither would widen.
func (c Comparison) ReAdds(earlier *Set) bool {
	if earlier == nil {
		return false
	}
	traces := tracesOf(earlier)
	return slices.ContainsFunc(c.adds, func(a App) bool {
		_, named := earlier.apps[a.Name]
		return named || traces.overlap(a) != ""
	})
}

// Drops reports whether after has no longer what before had: the name of an app, a host,
// an upstream, a secret or a workload. What ReAdds is asked about is remembered by it.
func Drops(before, after *Set) bool {
	was, now := tracesOf(before), tracesOf(after)
	return len(without(keys(was.hosts), keys(now.hosts)))+len(without(keys(was.secrets), keys(now.secrets)))+len(without(keys(before.apps), keys(after.apps))) > 0 ||
		slices.ContainsFunc(slices.Collect(maps.Keys(was.workloads)), func(p identity.Principal) bool { _, still := now.workloads[p]; return !still })
}

// traces are what apps of a policy are reached by and with.
type traces struct {
	hosts, secrets map[string]string // and whose they are
	workloads      map[identity.Principal]string
}

func tracesOf(s *Set) traces {
	out := traces{map[string]string{}, map[string]string{}, map[identity.Principal]string{}}
	for _, name := range slices.Sorted(maps.Keys(s.apps)) {
		a := s.apps[name]
		for _, h := range hostsOf(a) {
			out.hosts[h] = name
		}
		for _, c := range a.Credentials {
			out.secrets[c.Secret] = name
		}
		if !a.Workload.IsZero() {
			out.workloads[a.Workload] = name
		}
	}
	return out
}

// hostsOf returns the hosts of an app and of its upstream. Two names of one machine
// are two hosts here: which name is whose nobody can tell from the files.
func hostsOf(a App) []string {
	out := slices.Clone(a.Hosts)
	if a.Upstream != nil {
		host := strings.ToLower(a.Upstream.Hostname())
		if addr, err := netip.ParseAddr(host); err == nil {
			host = addr.Unmap().String()
		}
		out = append(out, host)
	}
	return out
}

// overlap says what an app shares with those of t, "" if nothing.
func (t traces) overlap(a App) string {
	for _, h := range hostsOf(a) {
		if other, ok := t.hosts[h]; ok {
			return "the host " + h + " with app " + other
		}
	}
	for _, c := range a.Credentials {
		if other, ok := t.secrets[c.Secret]; ok {
			return "the secret " + c.Secret + " with app " + other
		}
	}
	if other, ok := t.workloads[a.Workload]; ok {
		return "the workload " + a.Workload.String() + " with app " + other
	}
	return ""
}
