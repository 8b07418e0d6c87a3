package spiffe_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const (
	gateway = "/gw/sidecar"
	control = "/mayfly/control"
)

// serverConfig is that of a door open to the gateway alone.
func serverConfig(t *testing.T, ca *dev.CA) *tls.Config {
	t.Helper()
	c, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, control), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.Only(devtest.ID(t, gateway)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func clientConfig(t *testing.T, ca *dev.CA, me string) *tls.Config {
	t.Helper()
	c, err := spiffe.ClientTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, me), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.Only(devtest.ID(t, control)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo serves lines until the test ends. It counts the connections that got
// through the handshake.
func echo(t *testing.T, config *tls.Config) (address string, in *atomic.Int64) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	in = new(atomic.Int64)
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c.(*tls.Conn).Handshake() == nil {
				in.Add(1)
				line, _ := bufio.NewReader(c).ReadString('\n')
				_, _ = io.WriteString(c, line)
			}
			c.Close()
		}
	}()
	return l.Addr().String(), in
}

// call does one round trip. A TLS 1.3 client sees a refusal on the first read.
func call(address string, config *tls.Config) (tls.ConnectionState, error) {
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return c.ConnectionState(), err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = errors.New("answer: " + line)
	}
	return c.ConnectionState(), err
}

func TestADoorForOneWorkload(t *testing.T) {
	ca := devtest.CA(t)
	address, in := echo(t, serverConfig(t, ca))
	if _, err := call(address, clientConfig(t, ca, gateway)); err != nil || in.Load() != 1 {
		t.Fatalf("the gateway: %v, %d in", err, in.Load())
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
	}{
		{"another workload", clientConfig(t, ca, refunder)},
		{"another CA's gateway", clientConfig(t, devtest.CA(t), gateway)},
		{"no certificate", &tls.Config{InsecureSkipVerify: true}},
		{"TLS 1.2", func() *tls.Config {
			c := clientConfig(t, ca, gateway)
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}()},
	} {
		if _, err := call(address, c.config); err == nil {
			t.Errorf("%s gets in", c.name)
		}
	}
	bad, err := ca.Bad(devtest.ID(t, gateway))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		config := clientConfig(t, ca, gateway)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &b.Cert, nil }
		if _, err := call(address, config); err == nil {
			t.Errorf("%s gets in", b.Name)
		}
	}
	if in.Load() != 1 {
		t.Errorf("%d handshakes passed, want only the gateway's", in.Load())
	}
}

func TestAClientHoldsTheServerToTheSameRules(t *testing.T) {
	ca := devtest.CA(t)
	bad, err := ca.Bad(devtest.ID(t, control))
	if err != nil {
		t.Fatal(err)
	}
	bad = append(bad, dev.Bad{Name: "another workload", Reason: spiffe.ReasonNotThisWorkload, Cert: mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)})})
	for _, b := range bad {
		config := serverConfig(t, ca)
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &b.Cert, nil }
		address, _ := echo(t, config)
		_, err := call(address, clientConfig(t, ca, gateway))
		unread := b.Cert.Leaf == nil && err != nil // crypto/tls cannot read it, and asks nobody
		if spiffe.ReasonOf(err) != b.Reason && !unread {
			t.Errorf("%s: %v, want %s", b.Name, err, b.Reason)
		}
	}
}

// go-spiffe's own authoriser is not called on a resumed session. A client that
// was let in once keeps its session; after the door closed to it, the session
// must not open it again.
func TestADeniedClientCannotResumeItsWayIn(t *testing.T) {
	ca := devtest.CA(t)
	for _, c := range []struct {
		name    string
		tickets bool // as if somebody switched them back on: the check must still run
	}{{"as built", false}, {"with tickets", true}} {
		t.Run(c.name, func(t *testing.T) {
			var closed atomic.Bool
			server, err := spiffe.ServerTLS(spiffe.TLSConfig{
				Source: devtest.Source(t, ca, control), Verifier: devtest.Verifier(t, ca),
				Authorize: func(spiffe.Peer) error {
					if closed.Load() {
						return errors.New("closed")
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			server.SessionTicketsDisabled = server.SessionTicketsDisabled && !c.tickets
			address, in := echo(t, server)
			client := clientConfig(t, ca, gateway)
			client.ClientSessionCache = tls.NewLRUClientSessionCache(8) // the attacker's own client
			for i := range 3 {
				state, err := call(address, client)
				if err != nil {
					t.Fatal(err)
				}
				if i > 0 && state.DidResume != c.tickets {
					t.Fatalf("resumed: %v, want %v", state.DidResume, c.tickets)
				}
			}
			closed.Store(true)
			if _, err := call(address, client); err == nil || in.Load() != 3 {
				t.Errorf("the denied client got in: %v, %d in", err, in.Load())
			}
		})
	}
}

func TestAConnectionOutlivesItsSVIDButNotTheCheck(t *testing.T) {
	ca := devtest.CA(t)
	var state tls.ConnectionState
	config := serverConfig(t, ca)
	verify := config.VerifyConnection
	config.VerifyConnection = func(cs tls.ConnectionState) error { state = cs; return verify(cs) }
	address, _ := echo(t, config)
	if _, err := call(address, clientConfig(t, ca, gateway)); err != nil {
		t.Fatal(err)
	}
	v := devtest.Verifier(t, ca)
	p, err := v.PeerFromState(state, time.Now())
	if err != nil || p.ID != devtest.ID(t, gateway) {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := v.PeerFromState(state, p.NotAfter); spiffe.ReasonOf(err) != spiffe.ReasonExpired {
		t.Errorf("after its end: %v", err)
	}
	if _, err := v.PeerFromState(tls.ConnectionState{}, time.Now()); spiffe.ReasonOf(err) != spiffe.ReasonNone {
		t.Errorf("no certificate: %v", err)
	}
	call := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	if got, err := v.PeerFromContext(call, time.Now()); err != nil || got != p {
		t.Errorf("gRPC call: %+v, %v", got, err)
	}
	if _, err := v.PeerFromContext(call, p.NotAfter); spiffe.ReasonOf(err) != spiffe.ReasonExpired {
		t.Errorf("gRPC call after its end: %v", err)
	}
	if _, err := v.PeerFromContext(context.Background(), time.Now()); spiffe.ReasonOf(err) != spiffe.ReasonNone {
		t.Errorf("no peer: %v", err)
	}
}

func TestADoorJudgesByItsOwnClock(t *testing.T) {
	ca := devtest.CA(t)
	server, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, control), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.AnyWorkload(),
		Now: func() time.Time { return time.Now().Add(2 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	address, in := echo(t, server)
	if _, err := call(address, clientConfig(t, ca, gateway)); err == nil || in.Load() != 0 {
		t.Errorf("an SVID that has ended by the server's clock gets in")
	}
}

func TestTLSWantsEveryPart(t *testing.T) {
	ca := devtest.CA(t)
	whole := spiffe.TLSConfig{Source: devtest.Source(t, ca, control), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.AnyWorkload()}
	for name, cut := range map[string]func(*spiffe.TLSConfig){
		"source":     func(c *spiffe.TLSConfig) { c.Source = nil },
		"verifier":   func(c *spiffe.TLSConfig) { c.Verifier = nil },
		"authoriser": func(c *spiffe.TLSConfig) { c.Authorize = nil },
	} {
		c := whole
		cut(&c)
		if out, err := spiffe.ServerTLS(c); err == nil || out != nil {
			t.Errorf("server without %s", name)
		}
		if out, err := spiffe.ClientTLS(c); err == nil || out != nil {
			t.Errorf("client without %s", name)
		}
	}
	if _, err := call("127.0.0.1:1", clientConfig(t, ca, gateway)); !isRefused(err) {
		t.Errorf("nobody there: %v", err)
	}
	if err := spiffe.Only()(spiffe.Peer{}); err == nil {
		t.Error("Only() of nobody lets somebody in")
	}
}

func isRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}
