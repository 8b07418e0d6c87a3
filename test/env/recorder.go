package env

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Arrival is one request that reached an upstream.
type Arrival struct {
	Action        string // x-mayfly-action, which gateways send on in tests
	At            time.Time
	App           string
	Method        string
	Path          string
	Authorization string
	Header        http.Header
}

// Recorder stands before an upstream and logs what arrives. What it saw is held
// against the record: every arrival has its intent, and none is after its end.
type Recorder struct {
	App     string
	handler http.Handler
	server  *http.Server
	address string

	mu       sync.Mutex
	arrivals []Arrival
}

// newRecorder serves on a free loopback port in front of next.
func newRecorder(app string, next http.Handler) (*Recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Recorder{App: app, handler: next, address: l.Addr().String()}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

// ServeHTTP implements http.Handler.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a := Arrival{
		Action: req.Header.Get("X-Mayfly-Action"), At: time.Now(), App: r.App, Method: req.Method, Path: req.URL.Path,
		Authorization: req.Header.Get("Authorization"), Header: req.Header.Clone(),
	}
	r.mu.Lock()
	r.arrivals = append(r.arrivals, a)
	r.mu.Unlock()
	req.Header.Del("X-Mayfly-Action")
	r.handler.ServeHTTP(w, req)
}

// URL is where the recorder listens.
func (r *Recorder) URL() string { return "http://" + r.address }

// Arrivals returns what arrived so far, in order.
func (r *Recorder) Arrivals() []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Arrival(nil), r.arrivals...)
}

func (r *Recorder) close() { _ = r.server.Close() }

// to returns a handler that passes requests on to address.
func to(address string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // callers that are killed are no news
	return proxy
}

// wiki is the app for people: it answers with the headers that it was given, as
// JSON. Below /cookies it tries to set two cookies, Mayfly's and its own.
func wiki() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/cookies") {
			w.Header().Add("Set-Cookie", "__Host-mayfly=evil; Path=/; Secure")
			w.Header().Add("Set-Cookie", "theme=dark")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Header)
	})
}

// reports is the web app of the tests: it answers with the path, and streams a
// line every 100 ms below /daily/stream until it is cut off.
func reports() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/daily/stream", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := io.WriteString(w, "line\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "report "+r.URL.Path+"\n") })
	return mux
}
