package caller

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// socketUID returns the user that connected c, from SO_PEERCRED.
func socketUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// loopbackUID returns the user whose socket is the other end of c, from the
// kernel's table of TCP sockets. A key that another user read off a command line is
// of no use to them that way.
func loopbackUID(c *net.TCPConn) (uid int, ok bool) {
	theirs, ours := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if !theirs.IsValid() || !ours.IsValid() {
		return 0, false
	}
	table := "/proc/self/net/tcp"
	if theirs.Addr().Is6() {
		table = "/proc/self/net/tcp6"
	}
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	local, remote := kernelText(theirs), kernelText(ours)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid …
		if fields := strings.Fields(lines.Text()); len(fields) > 7 && fields[1] == local && fields[2] == remote {
			uid, err := strconv.Atoi(fields[7])
			return uid, err == nil
		}
	}
	return 0, false
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// kernelText writes an address as the kernel's table does: 32-bit words in the
// machine's own order.
func kernelText(a netip.AddrPort) string {
	var b strings.Builder
	bytes := a.Addr().AsSlice()
	for ; len(bytes) >= 4; bytes = bytes[4:] {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(bytes))
	}
	fmt.Fprintf(&b, ":%04X", a.Port())
	return b.String()
}
