package browser

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// Kind is who complains.
type Kind string

// Kinds of problems.
const (
	// Console is an error that a script wrote, or that the browser wrote itself.
	Console Kind = "console"
	// Script is an error that no script caught.
	Script Kind = "script"
	// CSP is something that the Content-Security-Policy stopped.
	CSP Kind = "csp"
	// Network is an answer of 400 or more, or none at all. A page that says no is
	// one, so Clean does not look at these.
	Network Kind = "network"
)

// Problem is one complaint of the browser.
type Problem struct {
	Kind Kind
	Text string // for CSP: the directive and what it stopped
	URL  string // of the script or resource, if known
}

// String is the problem in one line.
func (p Problem) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s", p.Kind, p.Text, p.URL))
}

// Request is one request that the browser made.
type Request struct {
	Method string
	URL    string
	Type   string // Document, Stylesheet, Script, Image, Fetch, EventSource, …
	Status int    // 0: none yet
}

// watch is what was seen of one tab.
type watch struct {
	frame cdp.FrameID // the tab's own, not that of a frame in it

	mu       sync.Mutex
	problems []Problem
	requests []Request
	open     map[network.RequestID]int // index of its latest request
	document *network.Response
}

// note is called by the tab's reading loop for each event, one after the other.
func (w *watch) note(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.problems = append(w.problems, Problem{Kind: Console, Text: words(e.Args)})
		}
	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		text := d.Text
		if d.Exception != nil && d.Exception.Description != "" {
			text += " " + d.Exception.Description
		}
		w.problems = append(w.problems, Problem{Kind: Script, Text: text, URL: d.URL})
	case *log.EventEntryAdded:
		w.noteEntry(e.Entry)
	case *audits.EventIssueAdded:
		if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			w.problems = append(w.problems, Problem{Kind: CSP, Text: strings.TrimSpace(d.ViolatedDirective + " " + d.BlockedURL)})
		}
	case *network.EventRequestWillBeSent:
		w.noteRequest(e)
	case *network.EventResponseReceived:
		w.answered(e.RequestID, e.Response)
		if e.FrameID == w.frame && e.Type == network.ResourceTypeDocument {
			w.document = e.Response
		}
	}
}

func (w *watch) noteEntry(e *log.Entry) {
	p := Problem{Kind: Console, Text: e.Text, URL: e.URL}
	switch {
	case e.Level != log.EntryLevelError:
		return
	case e.Source == log.EntrySourceNetwork:
		p.Kind = Network
	case strings.Contains(e.Text, "Content Security Policy"):
		return // told by audits too, and better
	}
	w.problems = append(w.problems, p)
}

func (w *watch) noteRequest(e *network.EventRequestWillBeSent) {
	if e.RedirectResponse != nil {
		w.answered(e.RequestID, e.RedirectResponse)
	}
	if w.open == nil {
		w.open = map[network.RequestID]int{}
	}
	w.open[e.RequestID] = len(w.requests)
	w.requests = append(w.requests, Request{Method: e.Request.Method, URL: e.Request.URL + e.Request.URLFragment, Type: string(e.Type)})
}

func (w *watch) answered(id network.RequestID, r *network.Response) {
	if i, ok := w.open[id]; ok {
		w.requests[i].Status = int(r.Status)
	}
}

func words(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		text := strings.Trim(string(a.Value), `"`)
		if text == "" {
			text = a.Description
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// Problems returns what the browser complained of since the tab was opened or
// Forget was called, of the kinds named, or of all.
func (b *Tab) Problems(kinds ...Kind) []Problem {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	var out []Problem
	for _, p := range b.seen.problems {
		if len(kinds) == 0 || slices.Contains(kinds, p.Kind) {
			out = append(out, p)
		}
	}
	return out
}

// Requests returns the requests since the tab was opened or Forget was called.
func (b *Tab) Requests() []Request {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	return slices.Clone(b.seen.requests)
}

// Forget forgets the problems and requests so far.
func (b *Tab) Forget() {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	b.seen.problems, b.seen.requests, b.seen.open = nil, nil, nil
}

// Status returns the status of the page's own answer, 0 if it has none.
func (b *Tab) Status() int {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if b.seen.document == nil {
		return 0
	}
	return int(b.seen.document.Status)
}

// Header returns a header of the page's own answer, by its name in any case.
func (b *Tab) Header(name string) string {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if b.seen.document == nil {
		return ""
	}
	for k, v := range b.seen.document.Headers {
		if strings.EqualFold(k, name) {
			return fmt.Sprint(v)
		}
	}
	return ""
}
