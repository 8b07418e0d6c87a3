package oidc

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

// keysFor is how long the provider's signing keys are believed without looking
// again. A key that it withdraws is good for that long; a new one at once, since
// an unknown key id is looked up.
const keysFor = 5 * time.Minute

// keys are the signing keys of a provider.
type keys struct {
	address string
	client  *http.Client
	now     func() time.Time

	mu   sync.Mutex
	set  *goidc.RemoteKeySet
	from time.Time
}

func newKeys(address string, client *http.Client, now func() time.Time) *keys {
	return &keys{address: address, client: client, now: now}
}

func (k *keys) current() *goidc.RemoteKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); k.set == nil || now.Sub(k.from) >= keysFor {
		k.set, k.from = goidc.NewRemoteKeySet(goidc.ClientContext(context.Background(), k.client), k.address), now
	}
	return k.set
}

// keyAsk is one use of the keys. It remembers whether they could be had: the
// verifier above it keeps only the text of errors.
type keyAsk struct {
	set         *goidc.RemoteKeySet
	unavailable error
}

// VerifySignature implements goidc.KeySet.
func (a *keyAsk) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := a.set.VerifySignature(ctx, jwt)
	if err != nil && strings.HasPrefix(err.Error(), "fetching keys") {
		a.unavailable = errors.New("the provider's keys cannot be had: " + printable(err.Error(), maxCause))
	}
	return payload, err
}
