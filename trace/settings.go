package trace

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Settings are the key traces of a configuration file, the same in each: where traces
// go. The zero value is off.
type Settings struct {
	// Endpoint is the collector's URL: https, or http to a loopback address with
	// Insecure. With the protocol http it may have a path; left out it is /v1/traces.
	Endpoint    string        `yaml:"endpoint"`
	Protocol    string        `yaml:"protocol"`     // grpc or http (protobuf); empty: grpc
	CA          string        `yaml:"ca"`           // file of PEM roots; empty: the system's
	Insecure    bool          `yaml:"insecure"`     // plain http, to a loopback address only
	HeadersFile string        `yaml:"headers_file"` // file of "name: value" lines sent with each export; mode 0600 or 0400
	Sample      float64       `yaml:"sample"`       // the share of traces that is exported, above 0 and at most 1; 0: 1
	Timeout     time.Duration `yaml:"timeout"`      // of one export with its retries, at most 1m; 0: 10s
	Queue       int           `yaml:"queue"`        // spans that wait, at most 1048576; 0: 4096
}

const (
	defaultTimeout = 10 * time.Second
	longestTimeout = time.Minute
	defaultQueue   = 4096
	largestQueue   = 1 << 20

	// ProtocolGRPC and ProtocolHTTP are how spans are sent.
	ProtocolGRPC = "grpc"
	ProtocolHTTP = "http"
)

// On reports whether traces are exported.
func (s Settings) On() bool { return s.Endpoint != "" }

// Check reports what is wrong with s, reading the files that it names. It says
// nothing of s that is off.
func (s Settings) Check() error {
	_, err := s.read()
	return err
}

// target is Settings with everything read.
type target struct {
	url      *url.URL
	protocol string
	tls      *tls.Config // nil: plain
	headers  headers
	sample   float64
	timeout  time.Duration
	queue    int
}

func (s Settings) read() (target, error) {
	if !s.On() {
		if s != (Settings{}) {
			return target{}, errors.New("traces.endpoint: want the collector's URL, or no other key of traces")
		}
		return target{}, nil
	}
	t := target{protocol: s.Protocol, sample: s.Sample, timeout: s.Timeout, queue: s.Queue}
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("traces."+format, args...))
		}
	}
	if t.protocol == "" {
		t.protocol = ProtocolGRPC
	}
	if t.sample == 0 {
		t.sample = 1
	}
	if t.timeout == 0 {
		t.timeout = defaultTimeout
	}
	if t.queue == 0 {
		t.queue = defaultQueue
	}
	need(t.protocol == ProtocolGRPC || t.protocol == ProtocolHTTP, "protocol: %q, want grpc or http", s.Protocol)
	need(t.sample > 0 && t.sample <= 1, "sample: want a share above 0 and at most 1")
	need(t.timeout > 0 && t.timeout <= longestTimeout, "timeout: want more than 0 and at most %s", longestTimeout)
	need(t.queue > 0 && t.queue <= largestQueue, "queue: want at most %d", largestQueue)
	var err error
	t.url, err = s.endpoint(t.protocol)
	need(err == nil, "endpoint: %v", err)
	if err == nil && t.url.Scheme == "https" {
		t.tls, err = clientTLS(s.CA)
		need(err == nil, "ca: %v", err)
	}
	t.headers, err = readHeaders(s.HeadersFile)
	need(err == nil, "headers_file: %v", err)
	return t, errors.Join(errs...)
}

func (s Settings) endpoint(protocol string) (*url.URL, error) {
	u, err := url.Parse(s.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("want https://host:port, and with the protocol http a path; no user, no query")
	case protocol == ProtocolGRPC && strings.Trim(u.Path, "/") != "":
		return nil, errors.New("with the protocol grpc there is no path")
	case u.Scheme == "https" && s.Insecure:
		return nil, errors.New("insecure is for http, and this is https")
	case u.Scheme == "https":
	case u.Scheme != "http":
		return nil, errors.New("want https")
	case !s.Insecure || !loopback(u.Hostname()):
		return nil, errors.New("plain http is for a loopback address (127.0.0.1, [::1]), with insecure: true")
	case s.CA != "":
		return nil, errors.New("ca is for https, and this is http")
	}
	if u.Port() == "" {
		u.Host += map[string]string{ProtocolGRPC: ":4317", ProtocolHTTP: ":4318"}[protocol]
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func clientTLS(ca string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	return c, nil
}

// headers are what a collector knows us by: secrets. They print as redacted.
type headers struct{ values map[string]string }

func (headers) String() string               { return "redacted" }
func (headers) GoString() string             { return "redacted" }
func (headers) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// reveal returns the headers themselves, for the exporter.
func (h headers) reveal() map[string]string { return h.values }

// hide takes the values out of a text, such as an error that a collector wrote: the
// longest first, since one may be the beginning of another.
func (h headers) hide(text string) string {
	var secrets []string
	for _, v := range h.values {
		secrets = append(secrets, v)
		if _, token, ok := strings.Cut(v, " "); ok && len(token) > 3 { // Bearer …
			secrets = append(secrets, token)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "redacted")
	}
	return text
}

// maxHeaders is the largest file of headers, in bytes.
const maxHeaders = 16 << 10

func readHeaders(path string) (headers, error) {
	if path == "" {
		return headers{}, nil
	}
	headerName, headerValue := regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`), regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
	text, err := readSecret(path)
	if err != nil {
		return headers{}, err
	}
	out := headers{values: map[string]string{}}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if _, twice := out.values[name]; !ok || twice || !headerName.MatchString(name) || !headerValue.MatchString(value) {
			return headers{}, fmt.Errorf("%s: want lines such as authorization: Bearer …, each name once", path)
		}
		out.values[name] = value
	}
	return out, nil
}

// readSecret reads a small file that nobody else may read. It opens without
// blocking: a named pipe in its place is refused instead of waited for.
func readSecret(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Size() > maxHeaders:
		return "", fmt.Errorf("%s: want a file of at most %d bytes", path, maxHeaders)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s: mode %v lets other accounts in: want 0600 or 0400", path, info.Mode().Perm())
	}
	b := make([]byte, info.Size())
	n, err := f.Read(b)
	if err != nil && n == 0 && info.Size() > 0 {
		return "", err
	}
	return string(b[:n]), nil
}
