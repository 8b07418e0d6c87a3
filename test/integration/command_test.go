package integration

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
)

// A person logs the command in with a real browser: its page shows the code of the
// terminal, and its form is let through to the command's port.
func TestBrowserLogsTheCommandIn(t *testing.T) {
	p := theProduct(t)
	cmd := p.Command(t.Context(), "carol", "login")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address, code string
	lines := bufio.NewScanner(out)
	for address == "" && lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if _, rest, ok := strings.Cut(line, "the code "); ok {
			code, _, _ = strings.Cut(rest, ":")
		}
		if strings.HasPrefix(line, "https://") {
			address = line
		}
	}
	b := p.browse(t)
	b.Open(address)
	devLogin(t, b.Tab, "carol")
	b.WaitText("Let the command act as you?")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(u.Query().Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{code, back.Host, "user:idp:"} {
		if want == "" || !strings.Contains(b.Text(), want) {
			t.Errorf("the page does not say %q:\n%s", want, b.Text())
		}
	}
	b.Click("Continue")
	b.WaitText("You are logged in")
	for lines.Scan() { // to its end
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Another program on the person's machine has their browser open the address of a
// login of its own: no code goes to its port, and Cancel tells it so.
func TestBrowserGivesNoCodeToAnotherProgram(t *testing.T) {
	p := theProduct(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan url.Values, 10)
	evil := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			arrived <- r.URL.Query()
		}
		_, _ = w.Write([]byte("thank you"))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = evil.Serve(l) }()
	t.Cleanup(func() { _ = evil.Close(); <-done })
	sum := sha256.Sum256([]byte(strings.Repeat("v", 43)))
	hash := base64.RawURLEncoding.EncodeToString(sum[:])
	b := p.browse(t)
	b.Open(p.Public + api.AuthorizePath + "?" + url.Values{
		"response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {"http://" + l.Addr().String() + "/callback"}, "state": {"of-the-attacker"},
		"code_challenge": {hash}, "code_challenge_method": {"S256"}, "dpop_jkt": {hash},
	}.Encode())
	devLogin(t, b.Tab, "carol")
	b.WaitText("Let the command act as you?")
	if !strings.Contains(b.Text(), api.LoginCode("of-the-attacker", hash, hash)) || len(arrived) > 0 {
		t.Fatalf("%d requests arrived; the page says %s", len(arrived), b.Text())
	}
	b.Click("Cancel")
	b.WaitText("thank you")
	if q := <-arrived; q.Has("code") || q.Get("error") != "access_denied" || q.Get("state") != "of-the-attacker" {
		t.Errorf("the program was told %v", q)
	}
}
