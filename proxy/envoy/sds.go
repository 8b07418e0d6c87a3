package envoy

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// Identity is the listener's SVID and the bundles, kept new; *spiffe.Source is one.
type Identity interface {
	SVID() (*x509svid.SVID, error)
	Bundles() *spiffe.Bundles
	// Watch gives a value at once and after every change.
	Watch() (changed <-chan struct{}, stop func())
}

// SDSConfig is what the secret server needs. Web, UpstreamRoots and Log may be
// empty.
type SDSConfig struct {
	NodeID        string // of Bootstrap's Config: the only node that gets secrets
	Identity      Identity
	ControlDomain spiffeid.TrustDomain   // of mayflyd
	ClientDomains []spiffeid.TrustDomain // of callers
	Web           *WebCertificates       // for browsers; its Run is the caller's
	UpstreamRoots []byte                 // PEM, for direct apps over https
	Log           *slog.Logger
}

// SDS gives Envoy its secrets and replaces them as they rotate.
type SDS struct {
	secretservice.UnimplementedSecretDiscoveryServiceServer
	cfg   SDSConfig
	cache cache.SnapshotCache
	delta delta.Server
	stop  context.CancelFunc
	last  string // version being served, of Run's goroutine alone
}

// NewSDS checks cfg. Run fills it.
func NewSDS(cfg SDSConfig) (*SDS, error) {
	if cfg.NodeID == "" || cfg.Identity == nil || cfg.ControlDomain.IsZero() || len(cfg.ClientDomains) == 0 {
		return nil, errors.New("sds: NodeID, Identity, ControlDomain and ClientDomains are required")
	}
	if len(cfg.UpstreamRoots) > 0 && !x509.NewCertPool().AppendCertsFromPEM(cfg.UpstreamRoots) {
		return nil, errors.New("sds: the upstream roots hold no certificate")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := cache.NewSnapshotCache(false, cache.IDHash{}, nil) // ads=true never answers a stream per secret
	return &SDS{cfg: cfg, cache: c, stop: stop, delta: delta.NewServer(ctx, c, nil)}, nil
}

// Register puts the service on a gRPC server made with ServerOptions, whose
// listener is one of Listen. Nothing but the delta stream is implemented.
func (s *SDS) Register(r grpc.ServiceRegistrar) {
	secretservice.RegisterSecretDiscoveryServiceServer(r, s)
}

// How much of a call, and of all calls of a connection, may be on its way unread, in
// bytes: the largest body that is looked at fits.
const (
	callWindow = 2 << 20
	lineWindow = 8 << 20
)

// ServerOptions are needed by every gRPC server that Envoy pings: with grpc-go's
// own rule (a ping in five minutes) quiet streams would be cut. The windows stand:
// else grpc-go sends a PING with each call that comes, to measure a line that is a
// Unix socket.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true}),
		grpc.StaticStreamWindowSize(callWindow), grpc.StaticConnWindowSize(lineWindow),
	}
}

// DeltaSecrets serves Envoy's subscriptions until its stream ends.
func (s *SDS) DeltaSecrets(st secretservice.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.delta.DeltaStreamHandler(nackLog{st, s.cfg.Log}, resource.SecretType)
}

// nackLog says when Envoy refuses a secret; it goes on with the one before.
type nackLog struct {
	secretservice.SecretDiscoveryService_DeltaSecretsServer
	log *slog.Logger
}

func (n nackLog) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	req, err := n.SecretDiscoveryService_DeltaSecretsServer.Recv()
	if d := req.GetErrorDetail(); d != nil {
		n.log.ErrorContext(n.Context(), "secret refused by envoy", "error", d.GetMessage())
	}
	return req, err
}

// Run follows the identity and the certificates for browsers until ctx ends, then ends the streams and returns nil.
// What cannot be had now is not served: Envoy waits for it, or keeps what it has.
func (s *SDS) Run(ctx context.Context) error {
	defer s.stop()
	changed, stop := s.cfg.Identity.Watch()
	defer stop()
	for {
		select {
		case <-changed:
		case <-s.cfg.Web.changed():
		case <-ctx.Done():
			return nil
		}
		if err := s.update(ctx); err != nil {
			s.cfg.Log.ErrorContext(ctx, "secrets not renewed", "error", err)
		}
	}
}

func (s *SDS) update(ctx context.Context) error {
	secrets, err := s.secrets()
	if err != nil {
		return err
	}
	version := digest(secrets)
	if version == s.last {
		return nil
	}
	snapshot := &cache.Snapshot{}
	snapshot.Resources[types.Secret] = cache.NewResources(version, secrets)
	if err := s.cache.SetSnapshot(ctx, s.cfg.NodeID, snapshot); err != nil {
		return err
	}
	s.last = version
	return nil
}

func (s *SDS) secrets() ([]types.Resource, error) {
	svid, err := s.cfg.Identity.SVID()
	if err != nil {
		return nil, err
	}
	chain, key, err := svid.Marshal()
	if err != nil {
		return nil, fmt.Errorf("listener svid: %w", err)
	}
	out := []types.Resource{&tlsv3.Secret{Name: SecretListener, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(chain), PrivateKey: inline(key),
	}}}}
	for name, domains := range map[string][]spiffeid.TrustDomain{
		SecretControl: {s.cfg.ControlDomain}, SecretClients: s.cfg.ClientDomains,
	} {
		secret, err := s.trust(name, domains)
		if err != nil {
			return nil, err
		}
		if secret != nil {
			out = append(out, secret)
		}
	}
	if len(s.cfg.UpstreamRoots) > 0 {
		out = append(out, &tlsv3.Secret{Name: SecretUpstreamRoots, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(s.cfg.UpstreamRoots),
		}}})
	}
	return append(out, s.cfg.Web.secrets()...), nil
}

// trust is the SPIFFE validator over the bundles of domains, nil if there is none yet.
func (s *SDS) trust(name string, domains []spiffeid.TrustDomain) (*tlsv3.Secret, error) {
	bundles := s.cfg.Identity.Bundles()
	config := &tlsv3.SPIFFECertValidatorConfig{}
	for _, d := range domains {
		text := bundles.PEM(d)
		if len(text) == 0 {
			s.cfg.Log.Warn("no trust bundle", "secret", name, "trust_domain", d.Name())
			continue
		}
		config.TrustDomains = append(config.TrustDomains, &tlsv3.SPIFFECertValidatorConfig_TrustDomain{Name: d.Name(), TrustBundle: inline(text)})
	}
	if len(config.TrustDomains) == 0 {
		return nil, nil
	}
	packed, err := anypb.New(config)
	if err != nil {
		return nil, err
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: packed},
	}}}, nil
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

// digest names the content, in any order.
func digest(secrets []types.Resource) string {
	var sums []string
	for _, r := range secrets {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			b = []byte(err.Error())
		}
		sum := sha256.Sum256(b)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	slices.Sort(sums)
	sum := sha256.Sum256(fmt.Append(nil, sums))
	return hex.EncodeToString(sum[:8])
}
