package caller_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func request(t *testing.T, ctx context.Context, method, url string, body io.Reader, key caller.Secret) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	check(t, err)
	r.Header.Set(caller.KeyHeader, key.Reveal())
	return r
}

// Each event is passed on before the next one is sent.
func TestEventsPassAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	resp, err := http.DefaultClient.Do(request(t, t.Context(), "GET", l.URL(), nil, key))
	check(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("event %d: %q %v", i, lines.Text(), lines.Err())
		}
		next <- struct{}{}
	}
}

func TestBigBodiesAndTrailersPass(t *testing.T) {
	const size = 24 << 20
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.CopyN(w, zeros{}, size)
		w.Header().Set("X-Sum", fmt.Sprintf("%x %d %v %s", h.Sum(nil), n, err, r.Trailer.Get("X-Asked")))
	}))
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	body := make([]byte, size)
	r := request(t, t.Context(), "POST", l.URL(), io.NopCloser(bytes.NewReader(body)), key)
	r.Trailer = http.Header{"X-Asked": {"yes"}}
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Errorf("%d bytes came: %v", n, err)
	}
	if want := fmt.Sprintf("%x %d <nil> yes", sha256.Sum256(body), size); resp.Trailer.Get("X-Sum") != want {
		t.Errorf("the trailer is %q, want %q", resp.Trailer.Get("X-Sum"), want)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A program that goes away takes its request with it, and a gateway that cuts a
// stream cuts the program's: an end is never shown as a whole answer.
func TestEachEndCutsTheOther(t *testing.T) {
	gone, cut := make(chan struct{}), make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/cut" {
			<-cut
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
		close(gone)
	}))
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := http.DefaultClient.Do(request(t, ctx, "GET", l.URL(), nil, key))
	check(t, err)
	cancel()
	<-gone
	_ = resp.Body.Close()

	resp, err = http.DefaultClient.Do(request(t, t.Context(), "GET", l.URL()+"/cut", nil, key))
	check(t, err)
	defer resp.Body.Close()
	close(cut)
	if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", b, err)
	}
}

// At the end nobody new is let in, and what is under way ends well.
func TestTheEndLetsRequestsFinish(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-finish
		fmt.Fprint(w, "whole")
	}))
	key := caller.NewSecret("mk_")
	c := webConfig(w, t, key)
	c.Grace = time.Minute
	l, stop := start(t, c)
	answered := make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(request(t, t.Context(), "GET", l.URL(), nil, key))
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- string(b)
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the port is closed
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request(t, t.Context(), "GET", l.URL()+"/late", nil, caller.Secret{}))
		if err != nil {
			break
		}
		_ = resp.Body.Close()
	}
	close(finish)
	if got := <-answered; got != "whole" {
		t.Error(got)
	}
	check(t, <-stopped)
}

// A new SVID serves the next request, over a new connection, while a stream of the
// one before goes on.
func TestRotationDropsNothing(t *testing.T) {
	finish := make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "a")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/long" {
			<-finish
			fmt.Fprint(w, "z")
		}
	}))
	key := caller.NewSecret("mk_")
	source := w.source(t)
	l := run(t, caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: w.door(t, source)})
	long, err := http.DefaultClient.Do(request(t, t.Context(), "GET", l.URL()+"/long", nil, key))
	check(t, err)
	defer long.Body.Close()
	for round := 1; round <= 3; round++ {
		if resp, body := get(t, l.URL(), caller.KeyHeader, key.Reveal()); resp.StatusCode != 200 || body != "a" {
			t.Fatal(resp.Status, body)
		}
		if n := w.certificates(); n != round {
			t.Fatalf("%d SVIDs were shown in round %d", n, round)
		}
		before, err := source.SVID()
		check(t, err)
		changed, stop := source.Watch()
		w.api.Rotate()
		for now := before; now == before; now, err = source.SVID() {
			check(t, err)
			<-changed
		}
		stop()
	}
	close(finish)
	if b, err := io.ReadAll(long.Body); err != nil || string(b) != "az" {
		t.Errorf("the stream that began before gave %q, %v", b, err)
	}
}

// What keeps a request from the gateway is said with what to do about it.
func TestWhatKeepsFromTheGateway(t *testing.T) {
	w := newWorld(t, echo())
	source := w.source(t)
	short, err := w.ca.SVID(devtest.ID(t, reporter), time.Minute)
	check(t, err)
	foreign, err := dev.NewCA(dev.CAConfig{TrustDomain: w.ca.TrustDomain()})
	check(t, err)
	stranger, err := foreign.SVID(devtest.ID(t, reporter), time.Hour)
	check(t, err)
	door := func(change func(*caller.ServicesConfig)) *caller.Services {
		c := caller.ServicesConfig{Gateway: w.address, Host: appHost, IDs: ids(t, gateway), Source: source}
		change(&c)
		s, err := caller.NewServices(c)
		check(t, err)
		t.Cleanup(s.Close)
		return s
	}
	for _, c := range []struct {
		name   string
		door   *caller.Services
		status int
		say    string
	}{
		{"no gateway", door(func(c *caller.ServicesConfig) { c.Gateway = "127.0.0.1:1" }), 502, "cannot be reached"},
		{"another server", door(func(c *caller.ServicesConfig) { c.IDs = ids(t, "/gw/other") }), 502, "not the gateway that was named"},
		{"an SVID that ended", door(func(c *caller.ServicesConfig) {
			c.Source, c.Now = spiffe.Fixed(short, w.ca.Bundles()), func() time.Time { return time.Now().Add(time.Hour) }
		}), 401, "ended at"},
		{"no SVID", door(func(c *caller.ServicesConfig) { c.Source = spiffe.Fixed(nil, w.ca.Bundles()) }), 401, "no SVID"},
		{"an SVID of others", door(func(c *caller.ServicesConfig) { c.Source = spiffe.Fixed(stranger, w.ca.Bundles()) }), 502, "takes the workload's trust domain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := caller.NewSecret("mk_")
			l := run(t, caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: c.door})
			resp, body := get(t, l.URL(), caller.KeyHeader, key.Reveal())
			if resp.StatusCode != c.status || !strings.Contains(body, c.say) || !strings.Contains(body, `"next"`) {
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
}
