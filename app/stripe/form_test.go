package stripe

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestParseForm(t *testing.T) {
	v, err := parseForm("a=1&b%5Bc%5D=x+y&b[d][0]=%C3%A9&e[]=1&e[]=2&f=&g=a=b")
	if err != nil {
		t.Fatal(err)
	}
	b := v.members["b"]
	if v.members["a"].text != "1" || b.members["c"].text != "x y" || b.members["d"].members["0"].text != "é" ||
		strings.Join(v.members["e"].list, ",") != "1,2" || !v.members["f"].leaf || v.members["g"].text != "a=b" {
		t.Errorf("got %+v", v)
	}
}

func TestP2_FormsThatTwoParsersReadDifferentlyAreRefused(t *testing.T) {
	for _, text := range []string{
		"a", "&", "a=1&", "&a=1", "a=1&&b=2", "=1", "[a]=1", "a]=1", "a[=1", "a[b=1", "a[b]]=1", "a[b]c=1", "a[[b]]=1", "a[][b]=1", "a[][]=1",
		"a=1&a=2", "a=1&a[b]=2", "a[b]=2&a=1", "a[]=1&a[0]=2", "a[0]=2&a[]=1", "a=1&a[]=2", "a[]=1&a=2", "a[b]=1&a[b]=2", "a[b]=1&a%5Bb%5D=2",
		"a=%", "a=%4", "a=%zz", "a=%1\x10", "%=1", "a=%00", "a=%ff", "a=\xff", "a=%c0%af", "a=%ed%a0%80", "a=1;b=2", "a;b=1", "a= 1", "a=1\n", "a=\x00",
		strings.Repeat("a[", 20) + "=1", "a" + strings.Repeat("[b]", maxDepth) + "=1", strings.Repeat("&a=1", maxPairs),
	} {
		if _, err := parseForm(text); grant.ReasonOf(err) != grant.Malformed {
			t.Errorf("%.40q: %v, want malformed", text, err)
		}
	}
}

// FuzzForm holds that whatever is accepted is read alike by net/url, and that a
// whole classification of it never fails in another way than by a denial.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{"", "a=1", "charge=ch_1&amount=5&metadata[a]=b", "a[b][0]=1&a[b][1]=2", "e[]=1&e[]=2", "a=%41%2b+", "a[=1"} {
		f.Add(seed)
	}
	k := newKind(f)
	f.Fuzz(func(t *testing.T, text string) {
		op, err := k.Classify(refund(text))
		if reason := grant.ReasonOf(err); reason == grant.Internal || (err == nil) != (op.Name == "refunds.create") {
			t.Fatalf("%q: %v, %v", text, op, err)
		}
		v, err := parseForm(text)
		if err != nil {
			return
		}
		std, err := url.ParseQuery(text)
		if err != nil {
			t.Fatalf("%q: net/url refuses it: %v", text, err)
		}
		got := url.Values{}
		flatten(got, "", v)
		if len(got) != len(std) {
			t.Fatalf("%q: we read %v, net/url %v", text, got, std)
		}
		for key, values := range std {
			if strings.Join(got[key], "\x00") != strings.Join(values, "\x00") || !utf8.ValidString(key) {
				t.Fatalf("%q: we read %v, net/url %v", text, got, std)
			}
		}
	})
}

func flatten(out url.Values, name string, v *formValue) {
	if v.leaf {
		out.Add(name, v.text)
	}
	for _, item := range v.list {
		out.Add(name+"[]", item)
	}
	for key, member := range v.members {
		full := name + "[" + key + "]"
		if name == "" {
			full = key
		}
		flatten(out, full, member)
	}
}

func refund(form string) *app.Request {
	return &app.Request{App: "stripe", Method: "POST", Path: "/v1/refunds", Header: http.Header{"Content-Type": {formType}}, Body: []byte(form)}
}
