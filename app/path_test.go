package app

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/grant"
)

func TestP2_PathsThatTwoServersReadDifferentlyAreRefused(t *testing.T) {
	for _, raw := range []string{
		"", "*", "a", "http://other.example/a", "//a", "/a//b", "/a//", "//", "/./a", "/a/.", "/a/..", "/../a",
		"/a/%2e", "/a/%2e%2e/b", "/a/.%2E/b", "/a%2fb", "/a%2Fb", "/a%5cb", `/a\b`, "/a;b", "/a;v=1/b", "/a%3bb",
		"/a%00", "/a%0a", "/a%7f", "/a%252fb", "/a%25", "/a%", "/a%2", "/a%zz", "/a%+1", "/%61dmin", "/a%2D", "/a%7e",
		"/a b", "/a\tb", "/a\x00b", "/a\x7f", "/é", "/a#b", "/a%23b", "/a%3fb", "/a%ff", "/a%c3", "/%c0%ae", "/%ed%a0%80",
		"/a?b c", "/a?b#c", "/a?\xff",
	} {
		p, err := ParsePath(raw)
		if grant.ReasonOf(err) != grant.Malformed || p.Segments != nil {
			t.Errorf("ParsePath(%q) = %q, %v; want malformed", raw, p.Segments, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		raw      string
		segments []string
		slash    bool
		query    string
		text     string
	}{
		{"/", nil, false, "", "/"},
		{"/?a=b", nil, false, "a=b", "/"},
		{"/a", []string{"a"}, false, "", "/a"},
		{"/a/", []string{"a"}, true, "", "/a/"},
		{"/a/b?c=/../d", []string{"a", "b"}, false, "c=/../d", "/a/b"},
		{"/a%20b/c", []string{"a b", "c"}, false, "", "/a b/c"},
		{"/%C3%A9t%c3%a9", []string{"été"}, false, "", "/été"},
		{"/a+b@c:d!$&'()*,=", []string{"a+b@c:d!$&'()*,="}, false, "", "/a+b@c:d!$&'()*,="},
		{"/...", []string{"..."}, false, "", "/..."},
	} {
		p, err := ParsePath(c.raw)
		if err != nil || !slices.Equal(p.Segments, c.segments) || p.Slash != c.slash || p.Query != c.query || p.String() != c.text {
			t.Errorf("ParsePath(%q) = %+v %q, %v", c.raw, p, p, err)
		}
	}
}

func TestP2_HeadersThatChangeMethodOrPathAreRefused(t *testing.T) {
	for _, name := range []string{"X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"} {
		h := http.Header{}
		h.Set(name, "DELETE")
		if got := grant.ReasonOf(CheckOverrides(h)); got != grant.ConflictingHeaders {
			t.Errorf("%s: %q, want conflicting_headers", name, got)
		}
	}
	if err := CheckOverrides(http.Header{"Accept": {"*/*"}}); err != nil {
		t.Error(err)
	}
}

// FuzzParsePath holds that what is accepted is read alike by net/url and has no
// second reading: decoding it again changes nothing.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/", "/a/b?c", "/a%20b", "/%2e%2e/a", "/a//b", "/a;b", "/%c3%a9/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := ParsePath(raw)
		if err != nil {
			return
		}
		u, err := url.ParseRequestURI(raw)
		if err != nil || u.Path != p.String() || u.RawQuery != p.Query {
			t.Fatalf("%q: net/url reads %v (%v), we read %q", raw, u, err, p)
		}
		for _, s := range p.Segments {
			if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\;%?#\x00") || !utf8.ValidString(s) {
				t.Fatalf("%q: segment %q has a second reading", raw, s)
			}
		}
	})
}
