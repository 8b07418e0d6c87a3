package browser

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"github.com/mayflyproxy/mayfly/test/env"
)

// Tab is one tab. Its methods end the test when the page does not do what is asked
// of it in time. One goroutine uses it.
type Tab struct {
	t      TB
	ctx    context.Context // chromedp keeps the tab in it
	script bool            // scripts run
	seen   watch
}

// do runs f within patience, and ends the test if it fails.
func (b *Tab) do(what string, f func(context.Context) error) {
	b.t.Helper()
	if err := b.within(f); err != nil {
		b.fail(what, err)
	}
}

func (b *Tab) within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return f(ctx)
}

// fail ends the test with what the person saw.
func (b *Tab) fail(what string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	var text strings.Builder
	if at, err := chromedp.Run(ctx, chromedp.Location()); err == nil {
		fmt.Fprintf(&text, "\nat %s (%d)", at, b.Status())
	}
	if body, err := chromedp.Run(ctx, chromedp.Evaluate[string](bodyText)); err == nil {
		fmt.Fprintf(&text, "\n%.2000s", body)
	}
	for _, p := range b.Problems() {
		fmt.Fprintf(&text, "\n%s", p)
	}
	b.t.Fatalf("%s: %v%s", what, err, text.String())
}

// Try opens a page and waits until it is loaded. An address that cannot be
// reached, or whose certificate is not trusted, is an error; a refusal is a page.
func (b *Tab) Try(url string) error {
	return b.within(func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Navigate(url)) })
}

// Open is Try that ends the test on an error. It returns the answer's status.
func (b *Tab) Open(url string) int {
	b.t.Helper()
	if err := b.Try(url); err != nil {
		b.fail("open "+url, err)
	}
	return b.Status()
}

// Reload loads the page again, as the button does.
func (b *Tab) Reload() {
	b.t.Helper()
	b.do("reload", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Reload()) })
}

// Back goes one page back, as the button does.
func (b *Tab) Back() {
	b.t.Helper()
	var to string
	b.do("go back", func(ctx context.Context) error {
		h, err := chromedp.Run(ctx, chromedp.NavigationEntries())
		if err != nil {
			return err
		}
		if h.CurrentIndex == 0 {
			return errors.New("there is nothing before this page")
		}
		entry := h.Entries[h.CurrentIndex-1]
		to = entry.URL
		_, err = chromedp.Call(ctx, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: entry.ID})
		return err
	})
	b.WaitURL(to) // a page that was kept is not loaded again
}

// URL returns where the tab is.
func (b *Tab) URL() string {
	b.t.Helper()
	return Eval[string](b, `document.location.href`)
}

const bodyText = `document.body ? document.body.innerText : ''`

// Text returns what a person can read on the page.
func (b *Tab) Text() string {
	b.t.Helper()
	return Eval[string](b, bodyText)
}

// HTML returns the page as it is now.
func (b *Tab) HTML() string {
	b.t.Helper()
	return Eval[string](b, `document.documentElement.outerHTML`)
}

// Eval evaluates JavaScript in the page and returns its value, awaited if it is a
// promise. Neither the page's policy nor turned-off scripts bind it.
func Eval[T any](b *Tab, js string) T {
	b.t.Helper()
	var out T
	b.do("evaluate", func(ctx context.Context) (err error) {
		out, err = chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
		return err
	})
	return out
}

// Wait waits until the JavaScript expression is true, also across pages.
func (b *Tab) Wait(what, js string) {
	b.t.Helper()
	b.do("wait for "+what, func(ctx context.Context) error {
		return env.Eventually(ctx, what, func() error {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+js+`)`))
			if err == nil && !ok {
				err = fmt.Errorf("not yet")
			}
			return err
		})
	})
}

// WaitText waits until the page says text. Runs of space count as one.
func (b *Tab) WaitText(text string) {
	b.t.Helper()
	b.Wait(fmt.Sprintf("the text %q", text), fmt.Sprintf(`document.body && document.body.innerText.replace(/\s+/g, ' ').includes(%s)`, quote(text)))
}

// WaitNoText waits until the page no longer says text.
func (b *Tab) WaitNoText(text string) {
	b.t.Helper()
	b.Wait(fmt.Sprintf("the text %q to go", text), fmt.Sprintf(`document.body && !document.body.innerText.replace(/\s+/g, ' ').includes(%s)`, quote(text)))
}

// WaitURL waits until the tab is, fully loaded, at an address that begins with prefix.
func (b *Tab) WaitURL(prefix string) {
	b.t.Helper()
	b.Wait("the address "+prefix, fmt.Sprintf(`document.readyState === 'complete' && document.location.href.startsWith(%s)`, quote(prefix)))
}

// Cookie is one cookie of the person's browser.
type Cookie struct {
	Name, Value, Domain, Path string
	Secure, HTTPOnly          bool
	Session                   bool   // goes with the browser
	SameSite                  string // Strict, Lax, None, empty: not said
}

// Cookies returns all cookies of the person's browser, of all hosts.
func (b *Tab) Cookies() []Cookie {
	b.t.Helper()
	var out []Cookie
	b.do("read cookies", func(ctx context.Context) error {
		got, err := chromedp.Call(ctx, storage.GetCookies, storage.GetCookiesParams{})
		for _, c := range got.Cookies {
			out = append(out, Cookie{c.Name, c.Value, c.Domain, c.Path, c.Secure, c.HTTPOnly, c.Session, string(c.SameSite)})
		}
		return err
	})
	return out
}

// Cookie returns the cookie of that name at a host, and whether there is one.
func (b *Tab) Cookie(host, name string) (Cookie, bool) {
	b.t.Helper()
	for _, c := range b.Cookies() {
		if strings.TrimPrefix(c.Domain, ".") == host && c.Name == name {
			return c, true
		}
	}
	return Cookie{}, false
}

// SetCookie puts a cookie into the person's browser, as somebody who had hold of it
// could: Secure, HttpOnly, for the whole host of url.
func (b *Tab) SetCookie(url, name, value string) {
	b.t.Helper()
	b.do("set a cookie", func(ctx context.Context) error {
		yes := true
		_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{URL: url, Name: name, Value: value, Path: "/", Secure: &yes, HTTPOnly: &yes})
		return err
	})
}

// ClearCookies forgets all cookies of the person's browser.
func (b *Tab) ClearCookies() {
	b.t.Helper()
	b.do("clear cookies", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, storage.ClearCookies, storage.ClearCookiesParams{})
		return err
	})
}

// loaded waits for the load of a page that f causes.
func (b *Tab) loaded(what string, f func(context.Context) error) {
	b.t.Helper()
	b.do(what, func(ctx context.Context) error {
		_, err := chromedp.Run(ctx, chromedp.WaitEvent(page.LoadEventFired, nil,
			chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return f(ctx) })))
		return err
	})
}
