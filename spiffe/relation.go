package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/egress"
)

// The profiles of a bundle endpoint (SPIFFE Federation §5.2): how it proves that it
// is the one.
const (
	ProfileSPIFFE = "https_spiffe" // by an SVID with the ID that is expected
	ProfileWeb    = "https_web"    // by its host name, under a certificate of the Web PKI
)

// Relation is one foreign trust domain, whose bundle is fetched from its bundle
// endpoint. It is written so in configuration files.
type Relation struct {
	TrustDomain    string   `yaml:"trust_domain"`
	URL            string   `yaml:"url"`
	Profile        string   `yaml:"profile"`
	EndpointID     string   `yaml:"endpoint_id"`
	Bootstrap      string   `yaml:"bootstrap"` // a file
	CA             string   `yaml:"ca"`        // a file
	AllowAddresses []string `yaml:"allow_addresses"`
}

// Paths returns where the relation names files, for whoever resolves them.
func (r *Relation) Paths() []*string { return []*string{&r.Bootstrap, &r.CA} }

// CheckRelations says what is wrong with a list of relations: of whoever has an
// SVID of own and takes workloads of trusted. It opens no file.
func CheckRelations(list []Relation, own spiffeid.ID, trusted []string) error {
	var errs []error
	seen := map[string]bool{own.TrustDomain().Name(): true}
	known := []string{own.TrustDomain().Name()}
	for _, r := range list {
		known = append(known, r.TrustDomain)
	}
	for i, r := range list {
		at := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("federation[%d].%w", i, fmt.Errorf(format, args...)))
		}
		td, err := spiffeid.TrustDomainFromString(r.TrustDomain)
		switch {
		case err != nil || td.Name() != r.TrustDomain:
			// "spiffe://acme.example" is acme.example too: under two names our own would have another's bundle.
			at("trust_domain: want a name such as partner.example, not %q", r.TrustDomain)
		case seen[r.TrustDomain]:
			at("trust_domain: %s is our own, or there twice; a trust domain has one bundle", r.TrustDomain)
		case !slices.Contains(trusted, r.TrustDomain):
			at("trust_domain: %s is not under trust_domains: its bundle would prove nobody", r.TrustDomain)
		}
		seen[r.TrustDomain] = true
		if u, err := url.Parse(r.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			at("url: want https://host[:port]/path of the bundle endpoint")
		}
		if allow, err := egress.ParsePrefixes(r.AllowAddresses); err != nil {
			at("allow_addresses: %w", err)
		} else if err := egress.CheckListed(allow); err != nil {
			at("allow_addresses: %w", err)
		}
		if err := r.checkProfile(known); err != nil {
			errs = append(errs, fmt.Errorf("federation[%d].%w", i, err))
		}
	}
	return errors.Join(errs...)
}

// checkProfile wants of each profile what proves the endpoint, and nothing of the other.
func (r Relation) checkProfile(known []string) error {
	switch r.Profile {
	case ProfileWeb:
		if r.EndpointID != "" {
			return fmt.Errorf("endpoint_id: goes with profile %s", ProfileSPIFFE)
		}
		return nil
	case ProfileSPIFFE:
	default:
		return fmt.Errorf("profile: %q, want %s or %s", r.Profile, ProfileSPIFFE, ProfileWeb)
	}
	id, err := spiffeid.FromString(r.EndpointID)
	switch {
	case err != nil || id.Path() == "":
		return errors.New("endpoint_id: want the SPIFFE ID that the endpoint proves")
	case r.CA != "":
		return fmt.Errorf("ca: goes with profile %s; an endpoint of %s is proven by its trust domain's bundle", ProfileWeb, ProfileSPIFFE)
	case !slices.Contains(known, id.TrustDomain().Name()):
		return fmt.Errorf("endpoint_id: no bundle of %s is here to prove it with", id.TrustDomain().Name())
	case id.TrustDomain().Name() == r.TrustDomain && r.Bootstrap == "":
		return errors.New("bootstrap: want a file with the first bundle: the endpoint is proven by the bundle that it serves")
	}
	return nil
}

// roots reads the roots of a Web PKI endpoint; nil means the system's.
func (r Relation) roots() (*x509.CertPool, error) {
	if r.CA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(r.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca: %s holds no certificate", r.CA)
	}
	return pool, nil
}
