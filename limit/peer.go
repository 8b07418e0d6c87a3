package limit

import (
	"net"
	"net/http"
	"net/netip"
)

// Peer returns what counts as one client address of r: an IPv4 address, or an IPv6
// network of 64 bits. Behind a reverse proxy all are one peer. One that cannot be
// read is a stranger.
func Peer(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return strangers
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return strangers
	}
	return p.String()
}
