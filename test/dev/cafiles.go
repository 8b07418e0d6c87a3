package dev

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	keyFile    = "root-key.pem"
	bundleFile = "bundle.pem"
)

// BundlePath returns the file in dir that holds the trust bundle of a CA.
func BundlePath(dir string) string { return filepath.Join(dir, bundleFile) }

func (ca *CA) load() (found bool, err error) {
	keyPEM, err := os.ReadFile(filepath.Join(ca.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rootsPEM, err := os.ReadFile(BundlePath(ca.dir))
	if err != nil {
		return false, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return false, fmt.Errorf("%s holds no PEM", keyFile)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return false, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false, fmt.Errorf("%s: %T cannot sign", keyFile, key)
	}
	for block, rest := pem.Decode(rootsPEM); block != nil; block, rest = pem.Decode(rest) {
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return false, err
		}
		ca.roots = append(ca.roots, root)
	}
	return true, ca.adopt(signer)
}

// adopt makes key the issuer, if the newest root is its own and of this domain.
func (ca *CA) adopt(key crypto.Signer) error {
	if len(ca.roots) == 0 {
		return fmt.Errorf("%s holds no certificate", bundleFile)
	}
	root := ca.roots[len(ca.roots)-1]
	if root.Subject.CommonName != ca.domain.Name() {
		return fmt.Errorf("the root there is of trust domain %s", root.Subject.CommonName)
	}
	pub, ok := root.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(key.Public()) {
		return errors.New("root key and bundle do not belong together")
	}
	ca.issuer = issuer{cert: root, key: key}
	return nil
}

// save needs mu.
func (ca *CA) save() error {
	if err := os.MkdirAll(ca.dir, 0o700); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(ca.issuer.key)
	if err != nil {
		return err
	}
	if len(ca.issuer.chain) == 0 {
		key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := replaceFile(filepath.Join(ca.dir, keyFile), key, 0o600); err != nil {
			return err
		}
	}
	var roots []byte
	for _, r := range ca.roots {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Raw})...)
	}
	return replaceFile(BundlePath(ca.dir), roots, 0o644)
}

func replaceFile(path string, content []byte, mode fs.FileMode) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}
