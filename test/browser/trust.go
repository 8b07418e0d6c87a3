package browser

import (
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the format of Chromium's own table of certificates
)

// trusted is Chromium's CertificateMetadata: trust { type: TRUSTED }.
var trusted = []byte{0x0a, 0x02, 0x08, 0x03}

// trust makes a new profile trust roots, as a person does at Settings, Manage
// certificates: by a row in the profile's table. All other checks of certificates
// stay, so that a wrong name or an expired certificate is seen.
func trust(profile string, roots []*x509.Certificate) (err error) {
	if len(roots) == 0 {
		return nil
	}
	dir := filepath.Join(profile, "Default")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "ServerCertificate"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Exec(`
		CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR);
		INSERT INTO meta(key, value) VALUES ('version', '1'), ('last_compatible_version', '1');
		CREATE TABLE certificates(sha256hash_hex TEXT PRIMARY KEY, der_cert BLOB NOT NULL, trust_settings BLOB NOT NULL);`); err != nil {
		return err
	}
	for _, c := range roots {
		sum := sha256.Sum256(c.Raw)
		if _, err := db.Exec(`INSERT OR IGNORE INTO certificates(sha256hash_hex, der_cert, trust_settings) VALUES (?, ?, ?)`,
			hex.EncodeToString(sum[:]), c.Raw, trusted); err != nil {
			return err
		}
	}
	return nil
}
