package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// caller is a workload with an SVID, or without.
type caller struct {
	*http.Client
}

func newCaller(t testing.TB, address, sni string, config *tls.Config) caller {
	t.Helper()
	config = config.Clone()
	config.ServerName = sni
	tr := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return caller{&http.Client{Transport: tr, Timeout: patience}}
}

func clientTLS(t testing.TB, ca *dev.CA, path string) *tls.Config {
	t.Helper()
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, path), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.Only(devtest.ID(t, "/gw/listener")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

func (c caller) do(ctx context.Context, method, url string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if json.Unmarshal(text, &out.body) != nil {
		out.body = nil
	}
	return out, nil
}

func (c caller) get(t testing.TB, url string, header ...string) answer {
	t.Helper()
	a, err := c.do(t.Context(), "GET", url, nil, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ready waits until url answers 200.
func (c caller) ready(t testing.TB, url string) {
	t.Helper()
	eventually(t, url+" answers", func() error {
		a, err := c.do(t.Context(), "GET", url, nil)
		if err != nil {
			return err
		}
		if a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
}

// admin asks Envoy's own socket.
func admin(t testing.TB, g *gateway, path string) (string, error) {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.run, envoy.SocketAdmin))
	}}
	defer tr.CloseIdleConnections()
	a, err := caller{&http.Client{Transport: tr, Timeout: patience}}.do(t.Context(), "GET", "http://admin"+path, nil)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("%d %s", a.status, a.text)
	}
	return a.text, err
}
