package fault

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/env"
)

// patience is how long a test waits for another process before it gives up.
const patience = 30 * time.Second

func long() bool { return os.Getenv("MAYFLY_LONG") == "1" }

// missing ends a test that lacks something: SKIP, or FAIL with REQUIRE_ALL=1.
func missing(t testing.TB, what error) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip("SKIP: ", what)
}

// built builds the binaries once for all tests of the package. They stay, so that
// the next run builds only what changed. Copies of the checkout may share .cache.
var built = sync.OnceValues(func() (string, error) {
	root, err := env.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "test-bin", fmt.Sprintf("fault-%x", sha256.Sum256([]byte(root)))[:20])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return dir, env.Build(ctx, dir)
})

// start starts the product with one gateway.
func start(t testing.TB) (*env.Env, *env.Gateway) {
	t.Helper()
	e := startIn(t, folder(t))
	return e, check[*env.Gateway](t)(e.StartGateway(t.Context(), "gw"))
}

// folder makes a folder that goes with the test. Its path is short: sockets are in it.
func folder(t testing.TB) string {
	t.Helper()
	dir := check[string](t)(os.MkdirTemp("", "mf"))
	t.Cleanup(func() { leave(t, dir) })
	return dir
}

// startIn starts the product without a gateway in a folder.
func startIn(t testing.TB, dir string) *env.Env {
	t.Helper()
	found, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: env.Tool("envoy", "envoy")})
	if err != nil {
		missing(t, err)
	}
	if found.Path, err = filepath.Abs(found.Path); err != nil {
		t.Fatal(err)
	}
	mock := env.Tool("bin", "stripe-mock")
	if mock == "stripe-mock" {
		missing(t, fmt.Errorf("no stripe-mock: make tools"))
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	e, err := env.Start(t.Context(), env.Config{Bin: bin, Envoy: found.Path, StripeMock: mock, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// leave removes the folder, unless its logs are wanted.
func leave(t testing.TB, dir string) {
	if t.Failed() && os.Getenv("MAYFLY_KEEP") != "" {
		t.Log("logs are kept in ", dir)
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// eventually waits for another process.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := env.Eventually(ctx, what, f); err != nil {
		t.Fatal(err)
	}
}

// until waits for an instant that is itself the subject of a test.
func until(t testing.TB, at time.Time) {
	t.Helper()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// check fails the test on an error.
func check[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
