package credential

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

const marker = "sk_live_marker_0123456789"

func newSecret(t *testing.T, raw string) Secret {
	t.Helper()
	s, err := New("stripe-refunds", "v1", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestP7_ASecretShowsInNoOutput(t *testing.T) {
	s := newSecret(t, marker)
	type holder struct {
		Public  Secret
		private Secret
		pointer *Secret
		any     any
	}
	h := holder{s, s, &s, s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%b", "%U", "%t", "%p", "%10.3s"} {
		for _, v := range []any{s, &s, h, &h, []Secret{s}, map[string]Secret{"a": s}, fmt.Errorf("wrapped %v", s)} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	fmt.Fprintln(&out, s, h)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("event", "secret", s, "pointer", &s, "holder", h, "group", slog.GroupValue(slog.Any("secret", s)))
	}
	for _, v := range []any{s, &s, h, map[string]any{"secret": s}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		out.Write(b)
	}
	if b, err := xml.Marshal(h.Public); err == nil {
		out.Write(b)
	}
	for _, form := range []string{marker, fmt.Sprintf("%x", marker), fmt.Sprintf("%X", marker), strings.Trim(fmt.Sprint([]byte(marker)), "[]")} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret is printed as %q", form)
		}
	}
	if !strings.Contains(out.String(), "redacted(stripe-refunds)") {
		t.Error("the name is not printed")
	}
	if err := json.Unmarshal([]byte(`"`+marker+`"`), &s); err == nil {
		t.Error("a secret was read from a document")
	}
}

// TestP7_WhoRevealsASecret lists the packages that reveal a secret of an app,
// among those that know this package, with how often. A new one needs a good reason.
func TestP7_WhoRevealsASecret(t *testing.T) {
	allowed := map[string]int{
		"proxy/hop":          1, // just before the request leaves
		"cmd/mayfly-sidecar": 2, // no Secret: the key of pseudonyms, audit.PersonKey, and a caller's key of one run, each into its own file
	}
	reveals, knows, files := map[string]int{}, map[string]bool{}, 0
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		dir := filepath.ToSlash(rel)
		files++
		reveals[dir] += bytes.Count(text, []byte(".Reveal("))
		knows[dir] = knows[dir] || dir == "app/credential" || bytes.Contains(text, []byte(`/app/credential"`))
		return err
	})
	if err != nil || files < 20 || !knows["app/credential"] {
		t.Fatalf("%d files: %v", files, err)
	}
	for dir, n := range reveals {
		if knows[dir] && n > allowed[dir] {
			t.Errorf("%s reveals a secret %d times, the list has %d", dir, n, allowed[dir])
		}
	}
}

func TestASecretIsCopied(t *testing.T) {
	raw := []byte(marker)
	s, err := New("a", "1", raw)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 'X'
	s.Reveal()[0] = 'Y'
	if string(s.Reveal()) != marker {
		t.Errorf("the secret became %q", s.Reveal())
	}
}

func writeSecret(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func newFiles(t *testing.T, path string, dev bool) *Files {
	t.Helper()
	f, err := NewFiles(Config{Dev: dev, Entries: map[string]Entry{
		"stripe-refunds": {File: path, Apps: []string{"stripe"}, Hosts: []string{"api.stripe.com", "127.0.0.1:12111"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func goodUse() Use { return Use{"stripe-refunds", "stripe", "api.stripe.com"} }

func TestASecretGoesOnlyWhereTheConfigurationSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	writeSecret(t, path, marker+"\n", 0o600)
	f := newFiles(t, path, false)
	for name, c := range map[string]struct {
		use  Use
		want bool
	}{
		"as configured":       {goodUse(), true},
		"host in capitals":    {Use{"stripe-refunds", "stripe", "API.stripe.com"}, true},
		"second host":         {Use{"stripe-refunds", "stripe", "127.0.0.1:12111"}, true},
		"another port":        {Use{"stripe-refunds", "stripe", "127.0.0.1:12112"}, false},
		"another host":        {Use{"stripe-refunds", "stripe", "api.stripe.com.attacker.example"}, false},
		"host below":          {Use{"stripe-refunds", "stripe", "x.api.stripe.com"}, false},
		"no host":             {Use{"stripe-refunds", "stripe", ""}, false},
		"another app":         {Use{"stripe-refunds", "wiki", "api.stripe.com"}, false},
		"a name not known":    {Use{"stripe-read", "stripe", "api.stripe.com"}, false},
		"a name with a slash": {Use{"../stripe-refunds", "stripe", "api.stripe.com"}, false},
		"nothing":             {Use{}, false},
	} {
		s, err := f.Secret(t.Context(), c.use)
		if allowed := f.Allows(c.use) == nil; allowed != c.want || (err == nil) != c.want || s.IsZero() == c.want {
			t.Errorf("%s: %v, %v; want %v", name, s, err, c.want)
		}
		if err != nil && (grant.ReasonOf(err) != grant.CredentialUnavailable || strings.Contains(err.Error(), path)) {
			t.Errorf("%s: refused with %v", name, err)
		}
	}
}

func TestFilesThatAreNoSecretAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		dev, ok bool
	}{
		"0600":                   {marker, 0o600, false, true},
		"0400":                   {marker, 0o400, false, true},
		"line feed at the end":   {marker + "\n", 0o600, false, true},
		"CR LF at the end":       {marker + "\r\n", 0o600, false, true},
		"two line feeds":         {marker + "\n\n", 0o600, false, false},
		"line break inside":      {"sk_live\r\nHost: x", 0o600, false, false},
		"zero byte":              {marker + "\x00", 0o600, false, false},
		"empty":                  {"", 0o600, false, false},
		"short":                  {"sk_live", 0o600, false, false},
		"longest":                {strings.Repeat("a", maxSecret) + "\n", 0o600, false, true},
		"too long":               {strings.Repeat("a", maxSecret+1), 0o600, false, false},
		"readable by its group":  {marker, 0o640, false, false},
		"readable by all":        {marker, 0o604, false, false},
		"writable by its group":  {marker, 0o620, false, false},
		"readable by all in dev": {marker, 0o644, true, true},
	} {
		path := filepath.Join(dir, name)
		writeSecret(t, path, c.content, c.mode)
		s, err := newFiles(t, path, c.dev).Secret(t.Context(), goodUse())
		if (err == nil) != c.ok || c.ok && string(s.Reveal()) != strings.TrimRight(c.content, "\r\n") {
			t.Errorf("%s: %v (%v), want ok %v", name, err, errors.Unwrap(err), c.ok)
		}
	}
	for name, path := range map[string]string{"a folder": dir, "nothing": filepath.Join(dir, "missing"), "a device": os.DevNull} {
		if s, err := newFiles(t, path, true).Secret(t.Context(), goodUse()); err == nil || !s.IsZero() {
			t.Errorf("%s was taken for a secret", name)
		}
	}
}

func TestAChangedFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	writeSecret(t, path, "first-secret", 0o600)
	f := newFiles(t, path, false)
	first, err := f.Secret(t.Context(), goodUse())
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Secret(t.Context(), goodUse())
	if err != nil || again != first {
		t.Errorf("an unchanged file gave %v, %v", again, err)
	}
	writeSecret(t, path+".new", "other-secret", 0o600)
	if err := os.Chtimes(path+".new", time.Time{}, modTime(t, path)); err != nil { // only the inode tells
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	second, err := f.Secret(t.Context(), goodUse())
	if err != nil || string(second.Reveal()) != "other-secret" || second.Version() == first.Version() {
		t.Errorf("after a replacement: %v %q, %v", second, second.Version(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Secret(t.Context(), goodUse()); err == nil {
		t.Errorf("after the file was opened to others: %v", s)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Secret(t.Context(), goodUse()); err == nil {
		t.Errorf("after the file was removed: %v", s)
	}
}

func modTime(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func TestNewFilesRefusesOpenEntries(t *testing.T) {
	for name, e := range map[string]Entry{
		"relative":         {"key", []string{"stripe"}, []string{"api.stripe.com"}},
		"no app":           {"/key", nil, []string{"api.stripe.com"}},
		"no host":          {"/key", []string{"stripe"}, nil},
		"any host":         {"/key", []string{"stripe"}, []string{"*"}},
		"URL":              {"/key", []string{"stripe"}, []string{"https://api.stripe.com"}},
		"host in capitals": {"/key", []string{"stripe"}, []string{"API.stripe.com"}},
	} {
		if _, err := NewFiles(Config{Entries: map[string]Entry{"a": e}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestP7_AnEchoedSecretNeverLeaves(t *testing.T) {
	const secret = "abab-abac" // a beginning that begins again inside
	for name, c := range map[string]struct {
		body string
		want string // what goes on; "" with echo
		echo bool
	}{
		"nothing":             {"", "", false},
		"clean":               {"a quiet answer", "a quiet answer", false},
		"whole":               {secret, "", true},
		"inside":              {"x" + secret + "y", "x", true},
		"after a false start": {"abab-ab" + secret, "abab-ab", true},
		"overlapping start":   {"abab-abab-abac", "abab-", true},
		"cut off":             {"x abab-aba", "x abab-aba", false},
		"in capitals":         {"ABAB-ABAC", "ABAB-ABAC", false},
	} {
		for size := 1; size <= 4; size++ {
			body := GuardBody(io.NopCloser(chunks(c.body, size)), newSecret(t, secret), EchoWindow)
			got, err := io.ReadAll(body)
			if errors.Is(err, ErrEchoed) != c.echo || !c.echo && err != nil || string(got) != c.want {
				t.Errorf("%s in chunks of %d: %q, %v; want %q, echo %v", name, size, got, err, c.want, c.echo)
			}
		}
	}
}

// chunks reads s in pieces of size bytes, the last together with the end.
func chunks(s string, size int) io.Reader {
	var parts []io.Reader
	for len(s) > size {
		parts = append(parts, strings.NewReader(s[:size]))
		s = s[size:]
	}
	return iotest.DataErrReader(io.MultiReader(append(parts, strings.NewReader(s))...))
}

func TestTheGuardLooksAtTheBeginningOnly(t *testing.T) {
	s := newSecret(t, marker)
	long := strings.Repeat("x", 100) + marker
	got, err := io.ReadAll(GuardBody(io.NopCloser(chunks(long, 7)), s, 110))
	if err != nil || string(got) != long {
		t.Errorf("beyond the window: %d bytes, %v", len(got), err)
	}
	if got, err := io.ReadAll(GuardBody(io.NopCloser(chunks(long, 7)), s, len(long))); !errors.Is(err, ErrEchoed) || strings.Contains(string(got), "sk") {
		t.Errorf("at the end of the window: %q, %v", got, err)
	}
}

func TestP7_AnEchoInAHeaderIsFound(t *testing.T) {
	s := newSecret(t, marker)
	for name, c := range map[string]struct {
		header http.Header
		want   bool
	}{
		"clean":  {http.Header{"A": {"b"}}, false},
		"value":  {http.Header{"A": {"b", "Bearer " + marker}}, true},
		"name":   {http.Header{marker: {"b"}}, true},
		"no one": {nil, false},
	} {
		if EchoedInHeader(s, c.header) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
	if EchoedInHeader(Secret{}, http.Header{"A": {""}}) {
		t.Error("no secret is nowhere")
	}
}

// FuzzEchoGuard holds that the guard finds the secret exactly when it is there,
// however the stream is cut, and changes nothing else.
func FuzzEchoGuard(f *testing.F) {
	f.Add("aaaaaaab", "aaaaaaaaaaaaab", uint8(3))
	f.Add("abcabcab", "xabcabcabcab", uint8(1))
	f.Fuzz(func(t *testing.T, raw, body string, size uint8) {
		s, err := New("a", "1", []byte(raw))
		if err != nil {
			return
		}
		got, err := io.ReadAll(GuardBody(io.NopCloser(chunks(body, int(size)+1)), s, EchoWindow))
		at := strings.Index(body, raw)
		switch {
		case at < 0 && (err != nil || string(got) != body):
			t.Fatalf("%q changed to %q, %v", body, got, err)
		case at >= 0 && at+len(raw) <= EchoWindow && (!errors.Is(err, ErrEchoed) || !strings.HasPrefix(body[:at], string(got))):
			t.Fatalf("%q in %q let out %q, %v", raw, body, got, err)
		}
	})
}
