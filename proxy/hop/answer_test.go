package hop

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// A caller hangs up as soon as it has the whole answer: that is no answer cut short.
func TestWhoLeavesWithTheWholeAnswerEndedNothing(t *testing.T) {
	const text = "an answer"
	cut := &proxy.Cut{By: "grant", Denial: grant.Deny(grant.Revoked, "revoked")}
	for _, c := range []struct {
		name   string
		cause  error // of the end of the caller's request
		length int64 // as the upstream announced it
		want   string
	}{
		{"nothing happened", nil, int64(len(text)), ""},
		{"gone with all of it", context.Canceled, int64(len(text)), ""},
		{"gone, and nobody said how long it is", context.Canceled, -1, "caller"},
		{"gone before all of it", context.Canceled, int64(len(text)) + 1, "caller"},
		{"cut", cut, int64(len(text)), "grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cause != nil {
				cancel(c.cause)
			}
			body, buf := strings.NewReader(text), make([]byte, 4)
			n, err := body.Read(buf)
			seen := httptest.NewRecorder()
			written, by := pass(ctx, seen, body, c.length, buf, n, err)
			if by != c.want || written != int64(len(text)) || seen.Body.String() != text {
				t.Errorf("%d bytes, ended by %q, want %q: %q", written, by, c.want, seen.Body)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if _, by := pass(ctx, takesNothing{httptest.NewRecorder()}, strings.NewReader(""), 4, []byte("text"), 4, io.EOF); by != "caller" {
		t.Errorf("a caller that took nothing: ended by %q", by)
	}
}

// takesNothing is a caller that is gone.
type takesNothing struct{ *httptest.ResponseRecorder }

func (takesNothing) Write([]byte) (int, error) { return 0, errors.New("gone") }
