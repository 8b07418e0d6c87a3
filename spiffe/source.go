package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrNoSVID says that a source holds no SVID: none has come yet, or the one it
// held was withdrawn.
var ErrNoSVID = errors.New("no X.509-SVID")

// Source holds one workload's SVID and the trust bundles, and keeps both new
// while Run runs. Safe for concurrent use.
type Source struct {
	run func(context.Context) error

	mu       sync.Mutex // guards the fields below
	svid     *x509svid.SVID
	told     map[spiffeid.TrustDomain][]*x509.Certificate // with the SVID; nil: withdrawn
	toldJWT  map[spiffeid.TrustDomain]JWTKeys             // apart from told: the Workload API has a stream for each
	foreign  map[spiffeid.TrustDomain]told                // of bundle endpoints, in place of what was told
	bundles  *Bundles                                     // of all
	lastErr  error
	watchers map[chan struct{}]struct{}
}

func newSource() *Source {
	return &Source{bundles: NewBundles(nil), watchers: map[chan struct{}]struct{}{}}
}

// Fixed returns a source that never changes.
func Fixed(svid *x509svid.SVID, bundles *Bundles) *Source {
	s := newSource()
	s.run = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if bundles != nil {
		s.toldJWT = bundles.jwt
	}
	s.replace(svid, certsOf(bundles))
	return s
}

// Run keeps the source new until ctx ends, and returns ctx's error. Other
// failures are retried; they show in Wait and in OnError.
func (s *Source) Run(ctx context.Context) error { return s.run(ctx) }

// SVID returns the SVID in force, or an error that wraps ErrNoSVID. The value is
// shared: do not change it. Its Marshal gives chain and key as PEM.
func (s *Source) SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.svid == nil {
		return nil, errors.Join(ErrNoSVID, s.lastErr)
	}
	return s.svid, nil
}

// Bundles returns the trust bundles in force, never nil. The same pointer comes
// back until they change.
func (s *Source) Bundles() *Bundles {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundles
}

// Wait blocks until the source holds an SVID. It returns ctx's error, joined with
// the newest failure to get one.
func (s *Source) Wait(ctx context.Context) error {
	changed, stop := s.Watch()
	defer stop()
	for {
		_, err := s.SVID()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Watch returns a channel that gets a value after every change of SVID or
// bundles, and one at once. Changes that come faster than they are read are one.
// Call stop when done; the channel is never closed.
func (s *Source) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, c)
	}
}

// replace takes a whole new state; nil withdraws the SVID.
func (s *Source) replace(svid *x509svid.SVID, certs map[spiffeid.TrustDomain][]*x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid, s.lastErr, s.told = svid, nil, certs
	s.join()
	s.notify()
}

// replaceJWT takes a whole new state of the keys of JWT-SVIDs; nil withdraws them.
func (s *Source) replaceJWT(keys map[spiffeid.TrustDomain]JWTKeys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toldJWT = keys
	if s.join() {
		s.notify()
	}
}

// withdraw drops SVID and bundles.
func (s *Source) withdraw(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.svid != nil
	s.svid, s.lastErr, s.told = nil, err, nil
	if s.join() || had {
		s.notify()
	}
}

// federate puts the bundle of a foreign trust domain in place of whatever comes with
// the SVID; nil, or one without certificates and keys: nothing in the domain is trusted.
func (s *Source) federate(td spiffeid.TrustDomain, bundle *told) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign == nil {
		s.foreign = map[spiffeid.TrustDomain]told{}
	}
	if bundle == nil {
		bundle = &told{}
	}
	s.foreign[td] = *bundle
	if s.join() {
		s.notify()
	}
}

// join makes the bundles of what is held, and reports whether they changed. It needs mu.
func (s *Source) join() bool {
	certs, keys := maps.Clone(s.told), map[spiffeid.TrustDomain]JWTKeys{}
	if certs != nil { // whoever is nobody trusts nobody
		maps.Copy(keys, s.toldJWT)
		for td, bundle := range s.foreign {
			certs[td], keys[td] = bundle.authorities, bundle.jwt
		}
	}
	var hints []*x509.Certificate
	if s.svid != nil {
		hints = s.svid.Certificates[1:]
	}
	joined := newBundles(certs, hints).WithJWT(keys)
	if joined.Equal(s.bundles) {
		return false
	}
	s.bundles = joined
	return true
}

func (s *Source) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastErr = err
}

// notify needs mu.
func (s *Source) notify() {
	for c := range s.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func certsOf(b *Bundles) map[spiffeid.TrustDomain][]*x509.Certificate {
	out := map[spiffeid.TrustDomain][]*x509.Certificate{}
	for _, td := range b.TrustDomains() {
		out[td] = b.Authorities(td)
	}
	return out
}
