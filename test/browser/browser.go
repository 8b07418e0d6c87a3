package browser

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// patience is how long a page has to do what is expected of it. Machines of tests
// are slow and shared; nothing that works waits that long.
const patience = 30 * time.Second

// Config says what the person has. The zero value is a Chromium from PATH that
// trusts nothing and reaches only loopback addresses and localhost.
type Config struct {
	// Path is the Chromium; empty: need.Chromium finds it, or ends the test.
	Path string
	// Resolve says where a host is, as an IP or IP:port, whatever the port in the
	// URL: so names such as wiki.acme.example work without a name server. All
	// other names are not found.
	Resolve map[string]string
	// Roots are the authorities that the person trusts. Names and times of
	// certificates are checked as ever.
	Roots []*x509.Certificate
	// NoJavaScript is a person who has scripts turned off.
	NoJavaScript bool
}

// Browser is one person's browser, at its first tab.
type Browser struct {
	*Tab
	c Config
}

// TB is who a browser belongs to: a test, or the demo. Fatal and Fatalf do not
// return.
type TB interface {
	Helper()
	Cleanup(func())
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// New starts a browser, which ends with the test.
func New(t TB, c Config) *Browser {
	t.Helper()
	if test, ok := t.(testing.TB); ok && c.Path == "" {
		c.Path = need.Chromium(test)
	}
	profile, err := os.MkdirTemp("", "mfb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeProfile(t, profile) })
	if err := trust(profile, c.Roots); err != nil {
		t.Fatalf("roots of the browser: %v", err)
	}
	ctx, release := chromedp.NewExecAllocator(context.Background(), c.options(profile)...)
	t.Cleanup(release)
	b := &Browser{Tab: &Tab{t: t}, c: c}
	b.open(ctx)
	return b
}

// options are the flags of Chromium. It writes to its profile only, and calls
// nobody by itself.
func (c Config) options(profile string) []chromedp.ExecAllocatorOption {
	return append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(c.Path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", c.rules()), chromedp.Flag("font-render-hinting", "none"), chromedp.Flag("lang", "en"),
		chromedp.WindowSize(1280, 900),
		chromedp.Env("HOME="+profile, "XDG_CONFIG_HOME="+profile, "XDG_CACHE_HOME="+profile))
}

func (c Config) rules() string {
	var rules []string
	for _, host := range slices.Sorted(maps.Keys(c.Resolve)) {
		rules = append(rules, "MAP "+host+" "+c.Resolve[host])
	}
	return strings.Join(append(rules, "MAP * ~NOTFOUND", "EXCLUDE localhost", "EXCLUDE 127.0.0.1", "EXCLUDE [::1]"), ", ")
}

// NewTab opens another tab of the same person, with the same cookies.
func (b *Browser) NewTab() *Tab {
	b.t.Helper()
	tab := &Tab{t: b.t, script: b.script}
	tab.open(b.ctx)
	return tab
}

// open opens a tab below ctx, and closes it with the test.
func (b *Browser) open(ctx context.Context) {
	b.t.Helper()
	b.script = !b.c.NoJavaScript
	// What the driver does not know of a newer Chromium is no news for a test.
	b.Tab.open(ctx, chromedp.WithErrorf(func(string, ...any) {}))
}

func (b *Tab) open(parent context.Context, options ...chromedp.ContextOption) {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(b.seen.note))...)
	b.ctx = ctx
	b.t.Cleanup(func() {
		// Cancel waits until the browser is gone: nothing of ours stays behind.
		end, stop := context.WithTimeout(ctx, patience)
		defer stop()
		_ = chromedp.Cancel(end)
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil { // starts it; a time limit here would be its life
		b.t.Fatalf("start the browser: %v", err)
	}
	b.seen.frame = cdp.FrameID(chromedp.FromContext(ctx).Target.TargetID)
	b.do("watch", func(ctx context.Context) error {
		if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !b.script})
		return err
	})
}

// removeProfile waits for the last process of the browser to let go of it.
func removeProfile(t TB, profile string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := env.Eventually(ctx, "remove the profile", func() error {
		if err := os.RemoveAll(profile); err != nil {
			return err
		}
		if left, _ := filepath.Glob(filepath.Join(profile, "*")); len(left) > 0 {
			return fmt.Errorf("%d files are left", len(left))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
