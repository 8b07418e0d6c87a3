package egress

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
)

// Loopback lists the addresses of this machine, for development.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// closed are IPv4 networks that nobody on the Internet answers from
// (RFC 6890 and its registry), and one that a cloud answers its own machines from.
func closed() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),        // this network
		netip.MustParsePrefix("10.0.0.0/8"),       // private
		netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT; metadata of one cloud
		netip.MustParsePrefix("127.0.0.0/8"),      // loopback
		netip.MustParsePrefix("168.63.129.16/32"), // metadata of one cloud, by a public address
		netip.MustParsePrefix("169.254.0.0/16"),   // link-local; metadata of most clouds
		netip.MustParsePrefix("172.16.0.0/12"),    // private
		netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments; metadata of one cloud
		netip.MustParsePrefix("192.0.2.0/24"),     // documentation
		netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays
		netip.MustParsePrefix("192.168.0.0/16"),   // private
		netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"),  // documentation
		netip.MustParsePrefix("203.0.113.0/24"),   // documentation
		netip.MustParsePrefix("224.0.0.0/3"),      // multicast, reserved, broadcast
	}
}

// closed6 are the IPv6 networks inside 2000::/3 that nobody answers from.
// Outside it everything is closed: loopback, unspecified, link-local, private
// (fd00:ec2::254 and fd20:ce::254 are metadata), multicast.
func closed6() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("2001::/23"),     // protocol assignments, Teredo among them
		netip.MustParsePrefix("2001:db8::/32"), // documentation
		netip.MustParsePrefix("2002::/16"),     // 6to4: an IPv4 address in disguise
		netip.MustParsePrefix("3fff::/20"),     // documentation
	}
}

// open reports whether an address is one of the open Internet's, which needs no
// listing. An IPv4 address inside an IPv6 one counts as what it is.
func open(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	inside := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case a.Is4():
		return !slices.ContainsFunc(closed(), inside)
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a): // NAT64 (RFC 6052)
		b := a.As16()
		return open(netip.AddrFrom4([4]byte(b[12:])))
	default:
		return netip.MustParsePrefix("2000::/3").Contains(a) && !slices.ContainsFunc(closed6(), inside)
	}
}

// listed reports whether an operator has named the address.
func listed(allow []netip.Prefix, a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	return slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ParsePrefixes reads addresses and address prefixes, as operators list them.
func ParsePrefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range texts {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%q: want an IP address, or a prefix such as 10.1.0.0/16", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// CheckListed takes prefixes that say what they mean: the addresses as Unmap
// writes them, and not all there are.
func CheckListed(allow []netip.Prefix) error {
	for _, p := range allow {
		switch {
		case !p.IsValid() || p.Addr().Zone() != "" || p.Addr().Is4In6():
			return fmt.Errorf("%s is not an address prefix such as 10.1.0.0/16", p)
		case p.Bits() == 0:
			return fmt.Errorf("%s lists every address there is", p)
		}
	}
	return nil
}

// CheckAddress takes https anywhere and http on loopback only: what comes over
// the other kind could be anybody's.
func CheckAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return fmt.Errorf("%q is not an address such as https://login.acme.example", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%q: want https, or http on a loopback address", s)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
