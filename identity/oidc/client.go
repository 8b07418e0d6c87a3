package oidc

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// maxAnswer is the longest answer that is read from a provider, in bytes.
	maxAnswer = 1 << 20
	// answerTime is how long a provider has for one answer.
	answerTime = 10 * time.Second
)

var errAnswerTooLong = errors.New("the provider's answer is over 1 MiB")

// newClient returns a client that follows no redirect and reads bounded answers
// in bounded time.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     bounded{t},
		Timeout:       answerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded refuses addresses that checkAddress refuses, also those that the
// provider's discovery names, and answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkAddress(r.URL.Scheme + "://" + r.URL.Host); err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	res, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &limited{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// limited fails, rather than ends, after left bytes.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errAnswerTooLong
	}
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	l.left -= n
	if l.left < 0 {
		return 0, errAnswerTooLong
	}
	return n, err
}
