package dev

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// callerInfo is who opened a Unix socket connection, as the kernel says.
type callerInfo struct {
	credentials.CommonAuthInfo
	uid uint32
}

// AuthType names the mechanism.
func (callerInfo) AuthType() string { return "so_peercred" }

// peerCredentials is the server side of a Unix socket on which the kernel, not a
// handshake, says who calls.
type peerCredentials struct{}

func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("not a Unix socket")
	}
	uid, err := peerUID(unix)
	if err != nil {
		return nil, nil, err
	}
	return conn, callerInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, uid}, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("server side only")
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "so_peercred"}
}

func (p peerCredentials) Clone() credentials.TransportCredentials { return p }

func (peerCredentials) OverrideServerName(string) error { return nil }
