package attack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// TestSessionIsOnNoDisk reads everything that mayflyd and the gateway have written,
// databases, spools and logs, as whoever has a backup can: no secret that is alive is
// there, in any spelling.
func TestSessionIsOnNoDisk(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	page := w.App(env.WikiHost, "/team")
	v := w.visitor(t)
	onHost := enter(t, v, page, "alice")
	l.allow("wiki", "GET", "/team", alice)
	look(t, v, http.MethodGet, page)
	bearer, _, err := w.Secret(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	half := w.visitor(t)
	handedTo := handed(t, half, page, "carol")
	atProvider := w.visitor(t)
	answer := proven(t, atProvider, w.Public+"/login?idp=idp", "carol")
	secrets := map[string]string{
		"the session on the host": onHost, "the console's": v.Cookies(w.Public)[api.ConsoleCookie], "the command's": bearer,
		"a hand-over code": queryOf(t, handedTo, "code"), "the state of a login": queryOf(t, answer, "state"), "the browser of a login": atProvider.Cookies(w.Public)["__Host-mayfly-oidc"],
		"the beginning of a login on a host": half.Cookies(page)["__Host-mayfly-login"],
	}
	w.onNoDisk(t, secrets)
}

// onNoDisk looks for secrets that are alive in everything that mayflyd and the gateway
// have written, in any spelling.
func (w *world) onNoDisk(t *testing.T, secrets map[string]string) {
	t.Helper()
	for _, top := range []string{"data", "gw", "mayflyd.log", "init.log"} {
		files := 0
		err := filepath.WalkDir(filepath.Join(w.Dir, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for name, secret := range secrets {
				if len(secret) < 43 {
					t.Fatalf("%s is %q", name, secret)
				}
				secret = secret[:32] // as much as would fit a column of 32 bytes
				raw, _ := base64.RawURLEncoding.DecodeString(secret)
				for _, spelling := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:40], hex.EncodeToString([]byte(secret)), hex.EncodeToString(raw), string(raw)} {
					if bytes.Contains(text, []byte(spelling)) {
						t.Errorf("%s is in %s", name, strings.TrimPrefix(path, w.Dir))
					}
				}
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", top, files, err)
		}
	}
}
