package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// initialise makes what mayflyd needs on its disk, and prints each root of trust
// with its fingerprint, to be compared by a person over another way. Run again,
// it changes nothing and prints the same.
func initialise(out io.Writer, c config, dev bool) error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	public, err := makeRecordKeys(c.DataDir, c.Origin)
	state := "made"
	if errors.Is(err, fs.ErrExist) {
		state = "kept"
		var text []byte
		text, err = os.ReadFile(filepath.Join(c.DataDir, verifierKeyName))
		public = strings.TrimSpace(string(text))
	}
	if err != nil {
		return err
	}
	sealed, err := makeSealKey(c.DataDir)
	if err != nil {
		return err
	}
	p := printer{out: out}
	p.line("data folder", c.DataDir)
	p.line("record key ("+state+")", public)
	p.line("seal key ("+sealed+")", filepath.Join(c.DataDir, sealKeyName))
	p.line("mayflyd's SPIFFE ID", c.Identity.ID)
	p.line("trust domains", strings.Join(c.TrustDomains, ", "))
	p.certificates("trust bundle", c.Identity.Bundle)
	p.certificates("public certificate", c.Public.Cert)
	for _, o := range c.OIDC {
		p.line("OpenID provider "+o.Name, o.Issuer+" as client "+o.ClientID)
		p.line("  sends browsers to", c.oidcAddress(o.Name, "callback"))
		p.line("  sends logouts to", c.oidcAddress(o.Name, "logout"))
	}
	p.line("policy", c.Policy.Repository+" branch "+c.Policy.Branch)
	if err := p.signers(c.Policy.FirstSigner, dev); err != nil {
		return err
	}
	return p.err
}

// printer writes aligned lines and keeps the first error.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(name, value string) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, "%-28s %s\n", name, value)
	}
}

// certificates prints the SHA-256 of each certificate of a file.
func (p *printer) certificates(name, path string) {
	if path == "" {
		p.line(name, "from the Workload API")
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		p.line(name, path+" is not there yet")
		return
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			p.line(name, path+": "+err.Error())
			continue
		}
		sum := sha256.Sum256(cert.Raw)
		p.line(name, "SHA-256 "+hex.EncodeToString(sum[:])+" until "+cert.NotAfter.UTC().Format("2006-01-02"))
	}
}

func (p *printer) signers(path string, dev bool) error {
	signers, err := readFirstSigner(path)
	if err != nil {
		return err
	}
	for _, s := range signers {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.Key))
		if err != nil {
			return fmt.Errorf("%s: key of %s: %w", path, s.Person, err)
		}
		p.line("first signer "+s.Person, ssh.FingerprintSHA256(key))
	}
	if len(signers) == 0 && dev {
		p.line("first signer", "none: --dev accepts unsigned policy")
	}
	return nil
}
