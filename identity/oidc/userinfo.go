package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// userinfo asks the userinfo endpoint (OIDC Core §5.3) about the subject that an
// ID token named. Whoever else it speaks of, nothing of it is used (§5.3.2).
func (r *RP) userinfo(ctx context.Context, f *found, access, subject string) (claims, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.userinfo, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Accept", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrUnavailable, brief(err))
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: userinfo answered %d", ErrRefused, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: userinfo answered %d", ErrUnavailable, res.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("%w: userinfo answered with %q, want application/json", ErrProof, printable(kind, 64))
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrUnavailable, err)
	}
	var c claims
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrProof, brief(err))
	}
	sub, err := c.text("sub")
	if err == nil && (sub == "" || sub != subject) {
		err = errOtherSubject
	}
	if err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrProof, err)
	}
	return c, nil
}

// errOtherSubject is wrapped when the provider answers about somebody else.
var errOtherSubject = errors.New("the provider speaks of somebody else")
