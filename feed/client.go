package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"time"

	"google.golang.org/grpc"
)

const (
	pingEvery  = time.Second
	silence    = 10 * time.Second // without a Pong that counts: another stream
	firstPause = 200 * time.Millisecond
	longPause  = time.Second
	// A stream begins perhaps with a snapshot, and each part of it says that more is
	// coming: of many grants, or for many instances at once, it takes its time. Nothing
	// is decided meanwhile that the lease does not cover.
	snapshotSilence = 30 * time.Second
	maxPings        = 300 // Pings: as many seconds as the longest lease has
)

// ClientConfig configures a Client.
type ClientConfig struct {
	// Conn is the connection to mayflyd's node door, made with DialOptions and
	// authenticated both ways. Required.
	Conn grpc.ClientConnInterface
	// Instance is this process. Required.
	Instance Instance
	// Version is the binary's.
	Version string
	// Reader is the newest min_reader that the Sink understands.
	Reader uint32
	// Catalogues are the digests of the operations, by kind.
	Catalogues map[string]string
	// Sink is filled. Required.
	Sink Sink
	// BootNow reads CLOCK_BOOTTIME. Required.
	BootNow func() time.Duration
	// Alarm is told what a correct control plane never does; nil: the log only. It
	// must not block.
	Alarm func(text string)
	// Log is for operators; nil discards.
	Log *slog.Logger
}

// Client is one instance's side of the feed. Run fills the Sink; the other methods
// may be called at any time, concurrently.
type Client struct {
	c        ClientConfig
	rpc      FeedClient
	sessions SessionsClient
	tokens   TokensClient

	// Owned by Run.
	resync  bool     // the next subscription asks for a snapshot
	apps    []string // as the last snapshot said
	unheard Receipt  // what was acknowledged and may not have arrived
	acks    int      // how many Acks went into unheard
}

// NewClient checks c.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Conn == nil || c.Sink == nil || c.BootNow == nil {
		return nil, errors.New("feed client: Conn, Sink and BootNow are required")
	}
	if _, err := ParseInstance(c.Instance.String()); err != nil {
		return nil, fmt.Errorf("feed client: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Catalogues = maps.Clone(c.Catalogues)
	return &Client{c: c, rpc: NewFeedClient(c.Conn), sessions: NewSessionsClient(c.Conn), tokens: NewTokensClient(c.Conn)}, nil
}

// Run keeps a subscription until ctx ends, then returns nil. It reconnects with
// jittered pauses of at most a second.
func (c *Client) Run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		heard, err := c.session(ctx)
		if ctx.Err() != nil {
			break
		}
		c.c.Log.Warn("feed lost; it is tried again", "error", err)
		if heard {
			pause = firstPause
		}
		wait(ctx, jitter(pause))
		pause = min(2*pause, longPause)
	}
	return nil
}

// Ingest ships one segment of a spool. The client fills in the instance.
func (c *Client) Ingest(ctx context.Context, r *IngestRequest) (*IngestResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.rpc.Ingest(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("ingest frames %d to %d of %s: %w", r.GetFirst(), r.GetLast(), r.GetSpool(), err)
	}
	return out, nil
}

// Reserve asks for the acknowledgement of one intent. The client fills in the
// instance. No answer in time is an error: the action must not happen.
func (c *Client) Reserve(ctx context.Context, r *ReserveRequest) (*ReserveResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.rpc.Reserve(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("reserve %s: %w", r.GetAction(), err)
	}
	return out, nil
}

func (c *Client) alarm(text string, args ...any) {
	c.c.Log.Error("feed: "+text, args...)
	if c.c.Alarm != nil {
		c.c.Alarm(text)
	}
}

// subscription says what the instance is and, if a stream could go on from
// there, what it holds.
func (c *Client) subscription() (s *Subscribe, resuming bool) {
	s = &Subscribe{Instance: c.c.Instance.String(), Version: c.c.Version, Reader: c.c.Reader, Catalogues: c.c.Catalogues}
	var p Ping
	c.c.Sink.Describe(&p)
	s.Checkpoint, s.Doubt = p.Checkpoint, p.Doubt
	if at, holding := c.c.Sink.Position(); holding && !c.resync {
		s.Epoch, s.Revision, s.Apps = at.Epoch, at.Revision, c.apps
		return s, true
	}
	return s, false
}

// jitter returns anything up to d: what ends a thousand streams in one moment does
// not bring them back in one.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d)))
	if err != nil { // never since Go 1.24
		return d
	}
	return time.Duration(n.Int64())
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
