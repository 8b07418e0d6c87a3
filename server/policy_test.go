package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
)

func TestHowPolicyStandsIsInTheAnswers(t *testing.T) {
	w := newWorld(t)
	alice := w.session("alice", "support")
	status := func() api.PolicyStatus {
		return read[api.PolicyStatus](t, w.do(ask{method: "GET", path: "/api/v1/policy", session: alice}), http.StatusOK)
	}
	v := status()
	if v.Commit != strings.Repeat("1", 40) || len(v.Signers) != 1 || v.Signatures != 1 || v.Settle != "15m0s" || len(v.Settling) != 0 || v.Refused != nil || len(v.Notices) != 0 {
		t.Errorf("%+v", v)
	}
	if err := w.RefusePolicy(t.Context(), strings.Repeat("2", 40), "unsigned", "it is not signed"); err != nil {
		t.Fatal(err)
	}
	if err := w.LostPolicy(t.Context()); err != nil {
		t.Fatal(err)
	}
	v = status()
	if v.Refused == nil || v.Refused.Reason != "unsigned" || v.Unreadable == "" {
		t.Errorf("%+v", v)
	}
	who := read[api.Whoami](t, w.do(ask{method: "GET", path: "/api/v1/whoami", session: alice}), http.StatusOK)
	r := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk}), http.StatusCreated)
	for what, notices := range map[string][]string{"whoami": who.Notices, "a request": r.Notices, "status": v.Notices} {
		if got := strings.Join(notices, "\n"); !strings.Contains(got, "cannot be read since") || !strings.Contains(got, "222222222222 is refused (unsigned)") {
			t.Errorf("%s says %q", what, got)
		}
	}
}

// slowBody is a body of which nothing comes until it may.
type slowBody struct {
	asked func()
	may   <-chan struct{}
	rest  io.Reader
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.asked()
	<-b.may
	return b.rest.Read(p)
}

// A policy that somebody asks about is large. While as many bodies come in as are looked
// at at a time, no other one is read.
func TestNoBodyOfAPlanIsReadBeforeItsPlaceIsTaken(t *testing.T) {
	w := newWorld(t)
	dave, text := w.session("dave", "security"), planBody(t, w)
	send := func(path string, body io.Reader) *httptest.ResponseRecorder {
		return w.do(ask{method: "POST", path: "/api/v1/policy/" + path, session: dave, body: text, stream: body})
	}
	asked, may := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	for _, path := range []string{"plan", "replay"} {
		body := &slowBody{asked: sync.OnceFunc(func() { asked <- struct{}{} }), may: may, rest: strings.NewReader(text)}
		slow.Go(func() {
			if res := send(path, body); res.Code != http.StatusOK {
				t.Errorf("%s is answered %d: %s", path, res.Code, res.Body)
			}
		})
		<-asked
	}
	for _, path := range []string{"plan", "replay"} {
		unread := strings.NewReader(text)
		want(t, "one "+path+" too many", send(path, unread), http.StatusServiceUnavailable, "busy")
		if unread.Len() != len(text) {
			t.Errorf("%d bytes of a %s that has no place were read", len(text)-unread.Len(), path)
		}
	}
	close(may)
	slow.Wait()
	if res := send("plan", strings.NewReader(text)); res.Code != http.StatusOK {
		t.Errorf("with places again it is answered %d: %s", res.Code, res.Body)
	}
}
