package feed

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// MaxMessage is the largest message, in bytes, that either side takes: a segment
// of a spool is the largest that there is.
const MaxMessage = 16 << 20

const (
	minPing    = 500 * time.Millisecond
	alive      = 10 * time.Second // grpc-go asks no more often than this
	aliveAfter = 5 * time.Second
	dialAgain  = time.Second

	// A connection is left in good time before the SVID that opened it ends: half of
	// one hour is the least that is left of it then. Calls under way end on the old one.
	maxAge      = 15 * time.Minute
	maxAgeGrace = 30 * time.Second

	// How much may be on its way unread, in bytes, of a call and of all calls of a
	// connection. They stand: to find out what a line carries grpc-go sends a PING with
	// each message that comes, which most are shorter than.
	callWindow = 1 << 20
	lineWindow = 4 << 20

	// A server has a thousand connections on which little is said: it keeps little room
	// for what it reads, in bytes.
	readBuffer = 4 << 10
)

// ServerOptions returns what a gRPC server that serves the feed, or that Envoy
// pings, must be made with (design §5, proof d).
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: alive, Timeout: aliveAfter, MaxConnectionAge: maxAge, MaxConnectionAgeGrace: maxAgeGrace,
		}),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(callWindow),
		grpc.StaticConnWindowSize(lineWindow),
		grpc.ReadBufferSize(readBuffer),
	}
}

// DialOptions returns what a connection to the feed must be made with: a dead
// one is noticed, and a new one is tried at least each second.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: dialAgain / 10, Multiplier: 1.6, Jitter: 0.2, MaxDelay: dialAgain},
			MinConnectTimeout: 2 * dialAgain,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: alive, Timeout: aliveAfter, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithStaticStreamWindowSize(callWindow),
		grpc.WithStaticConnWindowSize(lineWindow),
	}
}
