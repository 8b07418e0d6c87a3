package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mayflyproxy/mayfly/test/need"
)

// Finding is something on the page that keeps people out.
type Finding struct {
	ID      string   `json:"id"`     // axe's rule
	Impact  string   `json:"impact"` // serious or critical
	Help    string   `json:"help"`
	Targets []string `json:"targets"` // CSS selectors
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s (%s): %s: %s", f.ID, f.Impact, f.Help, strings.Join(f.Targets, ", "))
}

// runAxe returns the findings as a text, for the version that is pinned.
const runAxe = `axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations
	.filter((v) => v.impact === 'serious' || v.impact === 'critical')
	.map((v) => ({id: v.id, impact: v.impact, help: v.help, targets: v.nodes.map((n) => String(n.target))}))))`

// Axe has the accessibility checker axe-core look at the page as it is now, and
// returns what it finds serious or critical. It ends the test where axe-core is
// not there, as need.NPM does.
func (b *Tab) Axe() []Finding {
	b.t.Helper()
	source, err := os.ReadFile(filepath.Join(axeCore(b.t), "axe.min.js"))
	if err != nil {
		b.t.Fatal(err)
	}
	var out []Finding
	b.do("look for what keeps people out", func(ctx context.Context) error {
		// A world of its own: neither the page's policy nor its scripts meet axe.
		world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: b.seen.frame, WorldName: "axe"})
		if err != nil {
			return err
		}
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](string(source)+";\n"+runAxe, chromedp.EvalAwaitPromise,
			func(p *runtime.EvaluateParams) { p.ContextID = world.ExecutionContextID }))
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &out)
	})
	return out
}

// sideways lists what reaches over the right edge, if the page scrolls sideways.
const sideways = `(() => {
	const root = document.documentElement;
	if (root.scrollWidth <= root.clientWidth) return [];
	const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 0.5);
	return [root.scrollWidth + ' px of ' + root.clientWidth].concat(wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 100)));
})()`

// Sideways returns, if a window of that width would scroll sideways, how wide the
// page is and what sticks out of it. The window has its old width after it.
func (b *Tab) Sideways(width int) []string {
	b.t.Helper()
	var out []string
	b.atWidth(width, func(ctx context.Context) (err error) {
		out, err = chromedp.Run(ctx, chromedp.Evaluate[[]string](sideways))
		return err
	})
	return out
}

// NoSidewaysScroll fails the test if the page scrolls sideways at one of the widths.
func (b *Tab) NoSidewaysScroll(widths ...int) {
	b.t.Helper()
	for _, width := range widths {
		if over := b.Sideways(width); len(over) > 0 {
			b.t.Errorf("%s scrolls sideways at %d px: %s", b.URL(), width, strings.Join(over, "\n\t"))
		}
	}
}

// NoAxeFindings fails the test on each finding of Axe.
func (b *Tab) NoAxeFindings() {
	b.t.Helper()
	for _, f := range b.Axe() {
		b.t.Errorf("%s: %s", b.URL(), f)
	}
}

// Clean fails the test on each problem but those of the network, and those whose
// text contains one of allowed.
func (b *Tab) Clean(allowed ...string) {
	b.t.Helper()
	for _, p := range b.Problems(Console, Script, CSP) {
		if !slices.ContainsFunc(allowed, func(a string) bool { return strings.Contains(p.String(), a) }) {
			b.t.Errorf("the browser complains of %s: %s", b.URL(), p)
		}
	}
}

// atWidth calls f while the window is width CSS pixels wide.
func (b *Tab) atWidth(width int, f func(context.Context) error) {
	b.t.Helper()
	b.do(fmt.Sprintf("at %d px", width), func(ctx context.Context) error {
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), 900)); err != nil {
			return err
		}
		if err := f(ctx); err != nil {
			return err
		}
		return chromedp.Do(ctx, chromedp.ResetViewport())
	})
}

// axeCore returns where axe-core is; a test without it is skipped, or fails.
func axeCore(t TB) string {
	if test, ok := t.(testing.TB); ok {
		return need.NPM(test, "axe-core")
	}
	dir, err := need.FindNPM("axe-core")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
