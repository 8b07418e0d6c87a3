package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func object(t testing.TB, text string) claims {
	t.Helper()
	var c claims
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// The shapes in which providers tell groups.
func TestGroupsOfEveryShape(t *testing.T) {
	for _, c := range []struct {
		name, id, info, claim string
		strip                 bool
		want                  string // names joined by spaces
		fault                 string
	}{
		{name: "a list", id: `{"groups":["a","b"]}`, want: "a b"},
		{name: "one text", id: `{"groups":"a"}`, want: "a"},
		{name: "an empty text", id: `{"groups":""}`},
		{name: "an empty list", id: `{"groups":[]}`},
		{name: "null", id: `{"groups":null}`},
		{name: "absent", id: `{}`},
		{name: "a path", id: `{"realm_access":{"roles":["a"]}}`, claim: "realm_access.roles", want: "a"},
		{name: "a longer path", id: `{"resource_access":{"mayfly":{"roles":["a"]}}}`, claim: "resource_access.mayfly.roles", want: "a"},
		{name: "a claim that is written like a path", id: `{"realm_access.roles":["a"],"realm_access":{"roles":["b"]}}`, claim: "realm_access.roles", want: "a"},
		{name: "a client with dots inside a path", id: `{"resource_access":{"may.fly":{"roles":["a"]}}}`, claim: "resource_access.may.fly.roles", want: "a"},
		{name: "a URL", id: `{"https://acme.example/groups":["a"]}`, claim: "https://acme.example/groups", want: "a"},
		{name: "inside a URL", id: `{"https://acme.example/x":{"groups":["a"]}}`, claim: "https://acme.example/x.groups", want: "a"},
		{name: "a path through a text", id: `{"realm_access":"roles"}`, claim: "realm_access.roles"},
		{name: "a path through a list", id: `{"realm_access":[{"roles":["a"]}]}`, claim: "realm_access.roles"},
		{name: "a path to nothing", id: `{"realm_access":{}}`, claim: "realm_access.roles"},
		{name: "a path that ends early", id: `{"realm_access":{"roles":["a"]}}`, claim: "realm_access", fault: "not a list of texts"},
		{name: "a member in capitals", id: `{"GROUPS":["a"]}`},
		{name: "a slash", id: `{"groups":["/a","/a/b"]}`, want: "/a /a/b"},
		{name: "a slash cut", id: `{"groups":["/a","/a/b","c"]}`, strip: true, want: "a a/b c"},
		{name: "one slash cut", id: `{"groups":["//a"]}`, strip: true, want: "/a"},
		{name: "a slash alone", id: `{"groups":["/"]}`, strip: true},
		{name: "the same twice", id: `{"groups":["a","/a","a"]}`, strip: true, want: "a"},
		{name: "from userinfo", id: `{}`, info: `{"groups":["a"]}`, want: "a"},
		{name: "null in the token, told by userinfo", id: `{"groups":null}`, info: `{"groups":["a"]}`, want: "a"},
		{name: "the token comes first", id: `{"groups":["a"]}`, info: `{"groups":["b"]}`, want: "a"},
		{name: "none in the token are none", id: `{"groups":[]}`, info: `{"groups":["b"]}`},
		{name: "names that policy cannot write", id: `{"groups":["Domain Users","a","ä",""]}`, want: "a"},
		{name: "a list in a text", id: `{"groups":"a b"}`, fault: "spaces or commas"},
		{name: "a list with commas", id: `{"groups":"a,b"}`, fault: "spaces or commas"},
		{name: "a list in lines", id: `{"groups":"a\nb"}`, fault: "spaces or commas"},
		{name: "objects", id: `{"groups":[{"name":"a"}]}`, fault: "not a list of texts"},
		{name: "a number", id: `{"groups":5}`, fault: "not a list of texts"},
		{name: "a list with null", id: `{"groups":["a",null]}`, fault: "not a list of texts"},
		{name: "only pointed at", id: `{"_claim_names":{"groups":"src1"}}`, fault: "says where else it lies"},
		{name: "pointed at, told by userinfo", id: `{"_claim_names":{"groups":"src1"}}`, info: `{"groups":["a"]}`, want: "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{Name: "idp", GroupsClaim: "groups", GroupsStripSlash: c.strip}
			if c.claim != "" {
				config.GroupsClaim = c.claim
			}
			all := told{object(t, c.id)}
			if c.info != "" {
				all = append(all, object(t, c.info))
			}
			groups, _, err := all.groups(config)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) || groups != nil {
					t.Errorf("%v, %v, want %q", groups, err, c.fault)
				}
				return
			}
			var names []string
			for _, g := range groups {
				names = append(names, strings.TrimPrefix(g.String(), "group:idp/"))
			}
			if got := strings.Join(names, " "); err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// An e-mail is vouched for where it stands, and nowhere else.
func TestEmailIsVouchedForInItsPlace(t *testing.T) {
	for _, c := range []struct{ name, id, info, want string }{
		{"in the token", `{"email":"A@acme.example","email_verified":true}`, `{}`, "a@acme.example"},
		{"in userinfo", `{}`, `{"email":"a@acme.example","email_verified":true}`, "a@acme.example"},
		{"vouched for elsewhere", `{"email":"a@acme.example"}`, `{"email":"b@acme.example","email_verified":true}`, ""},
		{"vouched for in the token only", `{"email_verified":true}`, `{"email":"b@acme.example"}`, ""},
	} {
		got, err := told{object(t, c.id), object(t, c.info)}.email("email")
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func FuzzGroups(f *testing.F) {
	for _, seed := range []string{`["a"]`, `"a"`, `"a b"`, `null`, `[null]`, `{"a":{"b":["c"]}}`, `[1e400]`, "[\"\\u0000\",\"/\"]"} {
		f.Add(`{"groups":`+seed+`}`, "groups", true)
		f.Add(`{"a":{"b.c":`+seed+`}}`, "a.b.c", false)
	}
	f.Fuzz(func(t *testing.T, text, path string, strip bool) {
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		groups, found, err := told{c}.groups(Config{Name: "idp", GroupsClaim: path, GroupsStripSlash: strip})
		if err != nil && groups != nil || len(groups) > 0 && !found || len(groups) > maxGroups {
			t.Fatalf("%v, %v, %v", groups, found, err)
		}
		for i, g := range groups {
			rest, ok := strings.CutPrefix(g.String(), "group:idp/")
			if !ok || rest == "" || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || slices.Contains(groups[:i], g) {
				t.Fatalf("%q is a group, of %v", g, groups)
			}
		}
		if raw, ok := c[path]; ok && string(raw) != "null" {
			if got, ok := c.at(path); !ok || string(got) != string(raw) {
				t.Fatalf("at(%q) is %s, the claim of that name is %s", path, got, raw)
			}
		}
	})
}
