package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/mayflyproxy/mayfly/test/env"
)

// script finds things by what a person calls them; see its own comments.
//
//go:embed find.js
var script string

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always is JSON
	return string(b)
}

// spot is what find.js found.
type spot struct {
	Found int     `json:"found"` // how many fit
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Over  string  `json:"over"` // what lies over it, and would be clicked instead
	Typed bool    `json:"typed"`
	Error string  `json:"error"`
}

// at runs a function of find.js until it finds one thing that is there to be used.
func (b *Tab) at(ctx context.Context, call string) (spot, error) {
	var s spot
	var ambiguous error
	err := env.Eventually(ctx, "look", func() error {
		var err error
		s, err = chromedp.Run(ctx, chromedp.Evaluate[spot](`(() => {`+script+`; return `+call+`})()`))
		switch {
		case err != nil:
			return err
		case s.Found > 1:
			ambiguous = fmt.Errorf("%d things are called that: say which with a CSS selector", s.Found)
			return nil
		case s.Found == 0:
			return errors.New("nothing that is called that can be seen")
		case s.Over != "":
			return fmt.Errorf("%s lies over it", s.Over)
		case s.Error != "":
			return errors.New(s.Error)
		}
		return nil
	})
	return s, errors.Join(ambiguous, err)
}

func (b *Tab) click(ctx context.Context, what string) error {
	s, err := b.at(ctx, `spot(clickable(`+quote(what)+`))`)
	if err != nil {
		return err
	}
	return chromedp.Do(ctx, chromedp.MouseClickXY(s.X, s.Y))
}

// Click clicks what is called so: the name of a button, link, tab or summary, else
// the label of a field, else a CSS selector. It waits until it is there, but for
// nothing after the click.
func (b *Tab) Click(what string) {
	b.t.Helper()
	b.do(fmt.Sprintf("click %q", what), func(ctx context.Context) error { return b.click(ctx, what) })
}

// DoubleClick clicks twice, as fast as a person who is used to desktops.
func (b *Tab) DoubleClick(what string) {
	b.t.Helper()
	b.do(fmt.Sprintf("double click %q", what), func(ctx context.Context) error {
		s, err := b.at(ctx, `spot(clickable(`+quote(what)+`))`)
		if err != nil {
			return err
		}
		return chromedp.Do(ctx, chromedp.MouseClickXY(s.X, s.Y), chromedp.MouseClickXY(s.X, s.Y))
	})
}

// Follow clicks and waits until the page is loaded to which that leads, at the end
// of its redirects. It returns that page's status.
func (b *Tab) Follow(what string) int {
	b.t.Helper()
	b.loaded(fmt.Sprintf("follow %q", what), func(ctx context.Context) error { return b.click(ctx, what) })
	return b.Status()
}

// Fill gives a field a value: label is its label, aria-label, placeholder, name or
// id, else a CSS selector. Text is typed; of a list the option of that text or
// value is chosen; a date is given as 2026-12-01, a time as 13:30.
func (b *Tab) Fill(label, value string) {
	b.t.Helper()
	b.do(fmt.Sprintf("fill %q", label), func(ctx context.Context) error {
		s, err := b.at(ctx, `fill(field(`+quote(label)+`), `+quote(value)+`)`)
		if err != nil || !s.Typed || value == "" {
			return err
		}
		_, err = chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: value})
		return err
	})
}

// Value returns what is in a field.
func (b *Tab) Value(label string) string {
	b.t.Helper()
	var out string
	b.do(fmt.Sprintf("read %q", label), func(ctx context.Context) error {
		if _, err := b.at(ctx, `spot(field(`+quote(label)+`))`); err != nil {
			return err
		}
		var err error
		out, err = chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {`+script+`; return field(`+quote(label)+`)[0].value})()`))
		return err
	})
	return out
}

// Has reports whether something that is called so can be clicked now.
func (b *Tab) Has(what string) bool {
	b.t.Helper()
	return Eval[bool](b, `(() => {`+script+`; return clickable(`+quote(what)+`).length > 0})()`)
}

// Press types keys at what has the focus; package kb of chromedp has names for
// those without a letter, such as kb.Tab.
func (b *Tab) Press(keys string) {
	b.t.Helper()
	b.do("press keys", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.KeyEvent(keys)) })
}

// Focused returns the name of what has the focus, as Click would take it.
func (b *Tab) Focused() string {
	b.t.Helper()
	return Eval[string](b, `(() => {`+script+`; return document.activeElement ? called(document.activeElement) : ''})()`)
}
