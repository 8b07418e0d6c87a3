package spiffe

import (
	"context"
	"time"
)

// Refresh asks each endpoint once, and returns how long it would wait.
func (f *Federation) Refresh(ctx context.Context) []time.Duration {
	var out []time.Duration
	for _, e := range f.endpoints {
		out = append(out, e.refresh(ctx))
	}
	return out
}

// ReadJWTBundles reads a message of the Workload API.
var ReadJWTBundles = readJWTBundles
