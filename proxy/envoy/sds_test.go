package envoy

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const testNode = "spiffe://acme.example/gw/sidecar#0123456789abcdef0123456789abcdef"

// rotating is an identity that the test changes.
type rotating struct {
	changed chan struct{}

	mu      sync.Mutex
	svid    *x509svid.SVID
	bundles *spiffe.Bundles
}

func (r *rotating) SVID() (*x509svid.SVID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.svid == nil {
		return nil, spiffe.ErrNoSVID
	}
	return r.svid, nil
}

func (r *rotating) Bundles() *spiffe.Bundles {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bundles
}

func (r *rotating) Watch() (<-chan struct{}, func()) { return r.changed, func() {} }

func (r *rotating) rotate(t *testing.T, ca *dev.CA, withSVID bool) {
	t.Helper()
	svid, err := ca.SVID(devtest.ID(t, "/gw/listener"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.svid, r.bundles = nil, ca.Bundles()
	if withSVID {
		r.svid = svid
	}
	r.mu.Unlock()
	r.changed <- struct{}{}
}

func startSDS(t *testing.T, id Identity, roots []byte) *grpc.ClientConn {
	t.Helper()
	return startSDSWith(t, id, roots, nil)
}

func startSDSWith(t *testing.T, id Identity, roots []byte, web *WebCertificates) *grpc.ClientConn {
	t.Helper()
	td := spiffeid.RequireTrustDomainFromString(devtest.Domain)
	s, err := NewSDS(SDSConfig{NodeID: testNode, Identity: id, ControlDomain: td, ClientDomains: []spiffeid.TrustDomain{td}, Web: web, UpstreamRoots: roots})
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(ServerOptions()...)
	s.Register(g)
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		g.Stop()
		<-done
		<-done
	})
	return conn
}

type secretStream struct {
	t *testing.T
	secretservice.SecretDiscoveryService_DeltaSecretsClient
}

func follow(t *testing.T, conn *grpc.ClientConn, node, name string) secretStream {
	t.Helper()
	st, err := secretservice.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(&discovery.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node}, TypeUrl: resource.SecretType, ResourceNamesSubscribe: []string{name}}); err != nil {
		t.Fatal(err)
	}
	return secretStream{t, st}
}

// next returns the next value of the secret and acknowledges it.
func (s secretStream) next() *tlsv3.Secret {
	s.t.Helper()
	r, err := s.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	if len(r.GetResources()) != 1 {
		s.t.Fatalf("got %v", r)
	}
	if err := s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.SecretType, ResponseNonce: r.GetNonce()}); err != nil {
		s.t.Fatal(err)
	}
	out := &tlsv3.Secret{}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestSDSFollowsTheIdentity(t *testing.T) {
	ca := devtest.CA(t)
	id := &rotating{changed: make(chan struct{}), bundles: spiffe.NewBundles(nil)}
	roots := ca.Bundles().PEM(ca.TrustDomain())
	conn := startSDS(t, id, roots)

	listener, clients := follow(t, conn, testNode, SecretListener), follow(t, conn, testNode, SecretClients)
	id.rotate(t, ca, false) // no SVID yet: nothing is served
	id.rotate(t, ca, true)
	first := listener.next().GetTlsCertificate()
	svid, err := id.SVID()
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := svid.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.GetCertificateChain().GetInlineBytes(), chain) || !bytes.Equal(first.GetPrivateKey().GetInlineBytes(), key) {
		t.Error("not the listener's SVID")
	}
	var validator tlsv3.SPIFFECertValidatorConfig
	before := clients.next().GetValidationContext().GetCustomValidatorConfig()
	if err := before.GetTypedConfig().UnmarshalTo(&validator); err != nil || before.GetName() != "envoy.tls.cert_validator.spiffe" {
		t.Fatal(before, err)
	}
	if d := validator.GetTrustDomains(); len(d) != 1 || d[0].GetName() != devtest.Domain || !bytes.Equal(d[0].GetTrustBundle().GetInlineBytes(), roots) {
		t.Errorf("callers are checked against %v", d)
	}
	if got := follow(t, conn, testNode, SecretControl).next().GetValidationContext().GetCustomValidatorConfig(); got == nil {
		t.Error("mayflyd is not checked")
	}
	if got := follow(t, conn, testNode, SecretUpstreamRoots).next().GetValidationContext().GetTrustedCa().GetInlineBytes(); !bytes.Equal(got, roots) {
		t.Error("not the upstream roots")
	}

	if err := ca.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	id.rotate(t, ca, true)
	if second := listener.next().GetTlsCertificate(); bytes.Equal(second.GetCertificateChain().GetInlineBytes(), chain) {
		t.Error("the old certificate again")
	}
	if err := clients.next().GetValidationContext().GetCustomValidatorConfig().GetTypedConfig().UnmarshalTo(&validator); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(validator.GetTrustDomains()[0].GetTrustBundle().GetInlineBytes(), roots) {
		t.Error("the old bundle again")
	}
}

func TestP7_SDSAnswersItsNodeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := devtest.CA(t)
		conn := startSDS(t, devtest.Source(t, ca, "/gw/listener"), nil)
		other := follow(t, conn, testNode+"0", SecretListener)
		got := make(chan *discovery.DeltaDiscoveryResponse, 1)
		go func() {
			if r, err := other.Recv(); err == nil {
				got <- r
			}
		}()
		follow(t, conn, testNode, SecretListener).next()
		synctest.Wait()
		if len(got) != 0 {
			t.Errorf("another node gets %v", <-got)
		}
		_, err := secretservice.NewSecretDiscoveryServiceClient(conn).FetchSecrets(t.Context(), &discovery.DiscoveryRequest{Node: &corev3.Node{Id: testNode}, ResourceNames: []string{SecretListener}})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("FetchSecrets: %v", err)
		}
	})
}
