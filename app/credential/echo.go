package credential

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// EchoWindow is how much of an answer is searched, in bytes.
const EchoWindow = 64 << 10

// ErrEchoed is the error of an answer that holds the secret.
var ErrEchoed = errors.New("the answer holds the credential that was sent")

// EchoedInHeader reports whether a header name or value of an answer holds s.
func EchoedInHeader(s Secret, h http.Header) bool {
	if s.held == nil {
		return false
	}
	for name, values := range h {
		if bytes.Contains([]byte(name), (*s.held).raw) {
			return true
		}
		for _, v := range values {
			if bytes.Contains([]byte(v), (*s.held).raw) {
				return true
			}
		}
	}
	return false
}

// EchoGuard finds a secret in the beginning of a stream, however it is cut into
// chunks, and lets no byte of it out: what may be the secret's beginning is held
// back. It is for one stream and one goroutine. Make it with NewEchoGuard.
type EchoGuard struct {
	secret  []byte
	border  []int // of each prefix of secret: its longest proper prefix that is also its end
	matched int   // how much of secret the bytes so far end with; these are held back
	left    int   // bytes still to be searched
	echoed  bool
}

// NewEchoGuard returns a guard that searches the first window bytes for s.
func NewEchoGuard(s Secret, window int) *EchoGuard {
	g := &EchoGuard{left: window}
	if s.held == nil {
		g.left = 0
		return g
	}
	g.secret = (*s.held).raw
	g.border = make([]int, len(g.secret)+1)
	for i := 1; i < len(g.secret); i++ {
		g.border[i+1] = g.step(g.border[i], g.secret[i])
	}
	return g
}

// step returns how much of the secret is matched when b follows matched bytes.
func (g *EchoGuard) step(matched int, b byte) int {
	for matched > 0 && g.secret[matched] != b {
		matched = g.border[matched]
	}
	if g.secret[matched] == b {
		matched++
	}
	return matched
}

// Scan takes the next chunk and returns the bytes that may go on now, or echoed
// if the secret is there; then nothing may go on any more. The result is valid
// until chunk is changed.
func (g *EchoGuard) Scan(chunk []byte) (pass []byte, echoed bool) {
	if g.echoed {
		return nil, true
	}
	before := g.matched
	searched := chunk[:min(len(chunk), g.left)]
	g.left -= len(searched)
	for _, b := range searched {
		if g.matched = g.step(g.matched, b); g.matched == len(g.secret) {
			g.echoed = true
			return nil, true
		}
	}
	if g.left == 0 {
		g.matched = 0 // the window ends: hold nothing back any more
	}
	if before == 0 {
		return chunk[:len(chunk)-g.matched], false
	}
	all := append(append(make([]byte, 0, before+len(chunk)), g.secret[:before]...), chunk...)
	return all[:len(all)-g.matched], false
}

// Rest returns what is still held back at the end of the stream.
func (g *EchoGuard) Rest() []byte {
	if g.echoed {
		return nil
	}
	rest := bytes.Clone(g.secret[:g.matched])
	g.matched = 0
	return rest
}

// GuardBody returns body behind an EchoGuard: reading ends with ErrEchoed before
// any byte of s. Closing it closes body.
func GuardBody(body io.ReadCloser, s Secret, window int) io.ReadCloser {
	return &guardedBody{body: body, guard: NewEchoGuard(s, window)}
}

type guardedBody struct {
	body  io.ReadCloser
	guard *EchoGuard
	chunk [4 << 10]byte
	ready []byte // to be read, before err
	err   error
}

// Read implements io.Reader.
func (b *guardedBody) Read(p []byte) (int, error) {
	for len(b.ready) == 0 && b.err == nil && len(p) > 0 {
		b.fill()
	}
	if len(b.ready) > 0 {
		n := copy(p, b.ready)
		b.ready = b.ready[n:]
		return n, nil
	}
	return 0, b.err
}

func (b *guardedBody) fill() {
	n, err := b.body.Read(b.chunk[:])
	pass, echoed := b.guard.Scan(b.chunk[:n])
	if echoed {
		b.err = ErrEchoed
		return
	}
	b.ready, b.err = pass, err
	if err == nil {
		return
	}
	b.ready = append(bytes.Clone(pass), b.guard.Rest()...)
}

// Close implements io.Closer.
func (b *guardedBody) Close() error { return b.body.Close() }
