package envoy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// halfClosedStat is the end of the names under which Envoy counts streams whose guard
	// ended in good order, one of each app and door: their requests go on without a guard.
	halfClosedStat = ".ext_proc.server_half_closed"

	lookAtStats  = 2 * time.Second
	statsWithin  = time.Second
	maxStatsSize = 256 << 10
)

// HalfClosed watches for requests that go on without the guard that was to hold them.
// The guard never ends in good order (package guard), so that each is an alarm: no end of
// its access cuts it. Safe for concurrent use.
type HalfClosed struct {
	client *http.Client
	alarm  func(text string)
	log    *slog.Logger

	total atomic.Uint64
	last  uint64 // of the running Envoy; Run's
	blind bool   // the last look failed; Run's
}

// NewHalfClosed returns a watch over the Envoy of a run directory. alarm is told of each
// increase, to be recorded, and must not block; a nil log discards.
func NewHalfClosed(runDir string, alarm func(text string), log *slog.Logger) *HalfClosed {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(runDir, SocketAdmin))
	}
	return &HalfClosed{client: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: statsWithin}, alarm: alarm, log: log}
}

// Total is how many there were since the process began.
func (h *HalfClosed) Total() uint64 { return h.total.Load() }

// Run looks every two seconds until ctx ends, and returns nil. Call it once.
func (h *HalfClosed) Run(ctx context.Context) error {
	defer h.client.CloseIdleConnections()
	tick := time.NewTicker(lookAtStats)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.look(ctx)
		}
	}
}

// look reads the counters once. An Envoy that was started anew counts from 0 again.
func (h *HalfClosed) look(ctx context.Context) {
	now, err := h.read(ctx)
	if err != nil {
		if !h.blind && ctx.Err() == nil {
			h.log.WarnContext(ctx, "envoy does not tell whether requests go on without their guard", "error", err)
		}
		h.blind = true
		return
	}
	h.blind = false
	more := now - h.last
	if now < h.last {
		more = now
	}
	h.last = now
	if more > 0 {
		h.total.Add(more)
		text := fmt.Sprintf("%d requests went on without the guard that was to cut them", more)
		h.log.ErrorContext(ctx, "alarm", "text", text)
		h.alarm(text)
	}
}

func (h *HalfClosed) read(ctx context.Context) (uint64, error) {
	filter := url.QueryEscape(regexp.QuoteMeta(halfClosedStat) + "$")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/stats?filter="+filter, nil)
	if err != nil {
		return 0, err
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("envoy answers %s", resp.Status)
	}
	return sumOf(io.LimitReader(resp.Body, maxStatsSize+1))
}

// sumOf adds the counters up: "http.services_wiki.ext_proc.server_half_closed: 0", one a line.
// None is 0: no app is guarded here.
func sumOf(r io.Reader) (sum uint64, err error) {
	size := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if size += len(lines.Bytes()) + 1; size > maxStatsSize {
			return 0, errors.New("envoy's answer has no end")
		}
		name, value, ok := strings.Cut(lines.Text(), ": ")
		if !ok || !strings.HasSuffix(name, halfClosedStat) {
			return 0, fmt.Errorf("envoy tells %.80q", lines.Text())
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("envoy tells %.80q", lines.Text())
		}
		sum += n
	}
	return sum, lines.Err()
}
