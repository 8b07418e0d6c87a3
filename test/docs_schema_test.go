package test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/mayflyproxy/mayfly/policy"
)

var update = flag.Bool("update", false, "rewrite docs/schemas/policy-*.schema.json")

// form is a part of a JSON Schema.
type form = map[string]any

const label = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`

func pattern(p string) form      { return form{"type": "string", "pattern": p} }
func listOf(of form) form        { return form{"type": "array", "minItems": 1, "items": of} }
func anyOf(words ...string) form { return form{"type": "string", "enum": words} }
func refTo(object string) form   { return form{"$ref": "#/definitions/" + object} }

// forms says for every key of every object what may stand there, by "object.key". The
// keys are held to those that the parser reads.
func forms() map[string]form {
	name, deep := pattern("^"+label+"$"), pattern("^"+label+"(/"+label+")*$")
	deep["maxLength"] = 128
	duration := pattern("^([0-9]+[hms])+$")
	text := form{"type": "string", "minLength": 1}
	scalar := form{"type": []string{"string", "number", "boolean"}} // 100, true and ch_1 alike
	boolean := form{"type": "boolean"}
	subject := pattern("^(group:" + label + "/.+|spiffe://[^/]+/.+|user:" + label + ":.+|[a-z0-9-]{1,64})$")
	workload := pattern("^spiffe://[^/]+/.+$")
	operations := listOf(pattern(`^(@(read|write|money|secret|admin)|[A-Za-z0-9_.-]+(\.\*)?)$`))
	out := map[string]form{
		"mayfly.yaml.organisation": name, "mayfly.yaml.caps": refTo("caps"), "mayfly.yaml.environments": listOf(name),
		"mayfly.yaml.trust_domains": listOf(refTo("trust_domains")), "mayfly.yaml.nodes": listOf(refTo("nodes")), "mayfly.yaml.workloads": listOf(refTo("workloads")),
		"mayfly.yaml.people": listOf(refTo("people")), "mayfly.yaml.signers": listOf(refTo("signers")), "mayfly.yaml.security": pattern("^group:" + label + "/.+$"),
		"mayfly.yaml.signatures": form{"type": "integer", "minimum": 1, "maximum": 20}, "mayfly.yaml.settle": duration,
		"caps.grant": duration, "caps.pending_per_principal": form{"type": "integer", "minimum": 1, "maximum": 1000},
		"nodes.sidecar": workload, "nodes.listener": workload, "nodes.role": anyOf("gateway"), "nodes.apps": listOf(name), "nodes.environment": name,
		"trust_domains.name": pattern(`^[a-z0-9._-]+$`), "trust_domains.environments": listOf(name),
		"workloads.id": pattern(`^spiffe://[^/*]+/([^*]+/)?(\*|[^*]+)$`), "workloads.owner": name,
		"people.person": pattern("^[a-z0-9-]{1,64}$"), "people.accounts": listOf(pattern("^user:" + label + ":.+$")), "people.keys": listOf(refTo("keys")),
		"keys.ssh": text, "keys.passkey": text,
		"signers.person": pattern("^[a-z0-9-]{1,64}$"), "signers.key": pattern("^(ssh-|ecdsa-)[a-z0-9-]+ [A-Za-z0-9+/=]+$"),

		"app.app": name, "app.kind": anyOf("stripe", "web"), "app.owner": name, "app.hosts": listOf(pattern("^" + label + `(\.` + label + ")*$")),
		"app.callers": listOf(anyOf("services", "people", "clients")), "app.upstream": refTo("upstream"), "app.credential": listOf(refTo("credential")),
		"app.stale_after": duration, "app.streams": anyOf("deadline", "guard"), "app.max_stream": duration, "app.identity": refTo("identity"), "app.assert": boolean,
		"app.environments": listOf(name), "app.workload": workload, "app.mode": anyOf("enforce", "observe"),
		"upstream.url": pattern("^https?://[^/?#@]+$"), "upstream.protocol": anyOf("http/1.1", "http/2"),
		"credential.operations": operations, "credential.secret": name,
		"identity.headers": refTo("identity.headers"),

		"entitlement.entitlement": deep, "entitlement.owner": name, "entitlement.app": name, "entitlement.allow": listOf(refTo("allow")),
		"entitlement.params":      form{"type": "object", "propertyNames": pattern("^[a-z][a-z0-9_]{0,31}$"), "additionalProperties": refTo("param")},
		"entitlement.sensitivity": anyOf("read", "write", "money", "secret", "admin"), "entitlement.grant": refTo("grant"), "entitlement.request": refTo("request"),
		"entitlement.approve": refTo("approve"), "entitlement.onward": listOf(form{"allOf": []form{name, {"not": form{"const": policy.OwnApp}}}}), "entitlement.step_up": refTo("step_up"), "entitlement.tests": listOf(refTo("test")),
		"entitlement.environments": listOf(name),
		"allow.operations":         operations, "allow.where": form{"type": "object", "minProperties": 1, "additionalProperties": refTo("where")},
		"where.is": scalar, "where.in": listOf(scalar), "where.max": scalar, "where.min": scalar, "where.under": scalar,
		"param.type": anyOf("string", "integer", "boolean", "minor_units", "money", "path"), "param.pattern": text, "param.required": boolean, "param.any": boolean,
		"param.max": scalar, "param.min": scalar, "param.values": listOf(scalar),
		"grant.max": duration, "grant.default": duration, "grant.idle_after": duration,
		"request.who": listOf(subject), "request.for": listOf(anyOf("self")), "request.justification": anyOf("text", "none"),
		"approve.auto": refTo("auto"), "approve.steps": listOf(refTo("step")), "approve.signed": boolean,
		"auto.when": text,
		"step.any":  listOf(pattern("^(group:" + label + "/.+|user:" + label + ":.+|[a-z0-9-]{1,64})$")), "step.count": form{"type": "integer", "minimum": 1, "maximum": 20}, "step.within": duration,
		"step_up.acr": listOf(text), "step_up.max_age": duration,
		"test.as": text, "test.groups": listOf(pattern("^" + label + "/.+$")), "test.ask": form{"type": "object", "additionalProperties": scalar},
		"test.expect": anyOf("granted", "approval", "denied"), "test.because": anyOf(denials()...),

		"exception.exception": name, "exception.owner": name, "exception.allows": anyOf("wildcard", "undercut", "observe"), "exception.entitlement": deep,
		"exception.app": name, "exception.until": pattern(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))?$`), "exception.reason": pattern(`[^\s!-/:-@\[-^{-~]`),
		"bundle.bundle": deep, "bundle.owner": name, "bundle.entitlements": form{"type": "array", "minItems": 2, "maxItems": policy.MaxBundle, "items": deep, "uniqueItems": true}, "bundle.tests": listOf(refTo("test")),
		"persona.persona": name, "persona.owner": name, "persona.entitlements": listOf(deep), "persona.who": listOf(subject),
	}
	for _, fact := range policy.Facts() {
		out["identity.headers."+fact] = pattern("^[Xx]-[A-Za-z0-9-]+$")
	}
	return out
}

func denials() []string {
	return []string{
		policy.DenyUnknownEntitlement, policy.DenyNotEligible, policy.DenyLoginAgain, policy.DenyBeneficiary, policy.DenyParam, policy.DenyDuration,
		policy.DenyMaxDuration, policy.DenyJustification, policy.DenyNobodyApproves, policy.DenyExceptionOver,
	}
}

// needed are the keys that an object must have.
func needed() map[string][]string {
	return map[string][]string{
		"mayfly.yaml": {"organisation", "caps", "security"}, "caps": {"grant", "pending_per_principal"},
		"nodes": {"sidecar", "listener", "role", "apps", "environment"}, "trust_domains": {"name", "environments"}, "workloads": {"id", "owner"},
		"people": {"person", "accounts"}, "signers": {"person", "key"}, "app": {"app", "kind", "owner", "hosts", "callers", "upstream"}, "upstream": {"url"},
		"credential": {"operations", "secret"}, "identity": {"headers"}, "entitlement": {"entitlement", "owner", "app", "allow", "grant", "request", "approve"},
		"allow": {"operations"}, "param": {"type"}, "grant": {"max"}, "request": {"who"}, "auto": {"when"}, "step": {"any", "within"}, "test": {"as", "expect"},
		"exception": {"exception", "owner", "allows", "until", "reason"}, "persona": {"persona", "owner", "entitlements", "who"},
		"bundle": {"bundle", "owner", "entitlements"},
	}
}

// more is what an object's keys say together.
func more() map[string]form {
	either := func(a, b string) form {
		return form{"oneOf": []form{{"required": []string{a}}, {"required": []string{b}}}}
	}
	return map[string]form{
		"keys": either("ssh", "passkey"), "where": {"minProperties": 1}, "step_up": {"minProperties": 1},
		"approve": {"anyOf": []form{{"required": []string{"auto"}}, {"required": []string{"steps"}}}},
		"exception": {
			"if":   form{"properties": form{"allows": form{"const": "observe"}}},
			"then": form{"required": []string{"app"}, "not": form{"required": []string{"entitlement"}}},
			"else": form{"required": []string{"entitlement"}, "not": form{"required": []string{"app"}}},
		},
		"param": {"oneOf": []form{
			{"required": []string{"required"}, "properties": form{"required": form{"const": true}, "any": form{"const": false}}},
			{"required": []string{"any"}, "properties": form{"any": form{"const": true}, "required": form{"const": false}}},
		}},
	}
}

// nouns are the objects that are whole files, and where those lie.
func nouns() map[string]string {
	return map[string]string{"mayfly.yaml": "mayfly.yaml", "app": "apps/", "entitlement": "entitlements/", "bundle": "bundles/", "exception": "exceptions/", "persona": "personas/"}
}

func schemaFile(noun string) string {
	return filepath.Join(root, "docs", "schemas", "policy-"+strings.TrimSuffix(noun, ".yaml")+".schema.json")
}

// schemaOf makes the schema of a file of one noun, with the objects that it reaches.
func schemaOf(t *testing.T, noun string) []byte {
	t.Helper()
	inCode, definitions := objects(t), form{}
	var reach func(object string) form
	reach = func(object string) form {
		properties := form{}
		for _, key := range inCode[object].known {
			f, ok := forms()[object+"."+key]
			if !ok {
				t.Errorf("the schema does not know %s of %s", key, object)
				continue
			}
			properties[key] = f
		}
		out := form{"type": "object", "additionalProperties": false, "properties": properties}
		if names := needed()[object]; len(names) > 0 {
			out["required"] = names
		}
		maps.Copy(out, more()[object])
		b, err := json.Marshal(properties)
		if err != nil {
			t.Fatal(err)
		}
		for name := range inCode {
			if _, done := definitions[name]; !done && bytes.Contains(b, []byte(`"#/definitions/`+name+`"`)) {
				definitions[name] = true // before it is reached again
				definitions[name] = reach(name)
			}
		}
		return out
	}
	out := reach(noun)
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = "Mayfly policy: " + nouns()[noun] + map[bool]string{true: "<name>.yaml"}[strings.HasSuffix(nouns()[noun], "/")]
	out["description"] = "Form only; mayfly policy check knows the rest. See docs/policy.md."
	if len(definitions) > 0 {
		out["definitions"] = definitions
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// TestPolicySchemas holds the schemas for editors to the parser: every key that it
// reads is in one of them, and no other.
func TestPolicySchemas(t *testing.T) {
	var inSchema, inCode []string
	for name := range forms() {
		inSchema = append(inSchema, name)
	}
	for name, o := range objects(t) {
		for _, key := range o.known {
			inCode = append(inCode, name+"."+key)
		}
		for _, key := range needed()[name] {
			if !slices.Contains(o.known, key) {
				t.Errorf("the schema wants %s of %s, which the parser does not know", key, name)
			}
		}
	}
	sameNames(t, "the schemas of policy", inSchema, inCode)
	reached := map[string]bool{}
	for noun := range nouns() {
		want := schemaOf(t, noun)
		for name := range objects(t) {
			if name == noun || bytes.Contains(want, []byte(`"#/definitions/`+name+`"`)) {
				reached[name] = true
			}
		}
		if *update {
			if err := os.WriteFile(schemaFile(noun), want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(schemaFile(noun)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another (%v): go test ./test -run PolicySchemas -update", schemaFile(noun), err)
		}
	}
	for name := range objects(t) {
		if !reached[name] {
			t.Errorf("no schema reaches the object %s", name)
		}
	}
}

// byPath finds the schema of a policy file, nil if it is none.
func byPath(t *testing.T) func(name string) *jsonschema.Schema {
	t.Helper()
	compiled := map[string]*jsonschema.Schema{}
	for noun := range nouns() {
		s, err := jsonschema.NewCompiler().Compile(schemaFile(noun))
		if err != nil {
			t.Fatal(err)
		}
		compiled[noun] = s
	}
	return func(name string) *jsonschema.Schema {
		for noun, place := range nouns() {
			if name == place || strings.HasSuffix(place, "/") && strings.HasPrefix(name, place) && path.Ext(name) == ".yaml" {
				return compiled[noun]
			}
		}
		return nil
	}
}

// asEditor reads YAML as an editor does, by the core schema of YAML 1.2: a date is text.
func asEditor(b []byte) (any, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, err
	}
	var read func(n *yaml.Node) (any, error)
	read = func(n *yaml.Node) (any, error) {
		switch n.Kind {
		case yaml.DocumentNode:
			return read(n.Content[0])
		case yaml.MappingNode:
			out := map[string]any{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				v, err := read(n.Content[i+1])
				if err != nil {
					return nil, err
				}
				out[n.Content[i].Value] = v
			}
			return out, nil
		case yaml.SequenceNode:
			out := []any{}
			for _, c := range n.Content {
				v, err := read(c)
				if err != nil {
					return nil, err
				}
				out = append(out, v)
			}
			return out, nil
		}
		if n.ShortTag() == "!!timestamp" {
			return n.Value, nil
		}
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		if i, ok := v.(int); ok {
			return float64(i), nil
		}
		return v, nil
	}
	if n.Kind == 0 {
		return nil, nil
	}
	return read(&n)
}

// Whoever writes good policy sees no complaint.
func TestPolicySchemasTakeGoodPolicy(t *testing.T) {
	schema, seen := byPath(t), 0
	check := func(where, name string, b []byte) {
		s := schema(name)
		if s == nil {
			return
		}
		seen++
		v, err := asEditor(b)
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			t.Errorf("%s, %s: %v", where, name, err)
		}
	}
	for _, folder := range []string{"examples/policy", policyRepo + "/policy"} {
		for name, b := range policyIn(t, folder) {
			check(folder, name, b)
		}
	}
	for _, b := range readPage(t, "docs/policy.md").blocks() {
		if name, ok := strings.CutPrefix(b.lines[0], "# policy/"); ok && b.language == "yaml" {
			check("docs/policy.md", name, []byte(strings.Join(b.lines, "\n")+"\n"))
		}
	}
	if seen < 16 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// policyIn reads a policy folder of the checkout.
func policyIn(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	dir := os.DirFS(filepath.Join(root, filepath.FromSlash(folder)))
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[name], err = fs.ReadFile(dir, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is bad by form, an editor shows: every bad policy whose mistake is about keys
// and values of one file, but those that a schema cannot tell.
func TestPolicySchemasRefuseBadPolicy(t *testing.T) {
	beyond := map[string]string{ // and what it is that they hang on
		"app-in-another-environment-than-its-node":      "another file",
		"assert-to-a-provider":                          "the kind of an app, which is another key or file",
		"broken-pattern":                                "what an expression means",
		"cel-risk-of-a-later-version":                   "what a condition means",
		"credential-of-a-direct-app":                    "the kind of an app, which is another key or file",
		"exception-for-longer-than-a-calendar-has-days": "the calendar",
		"folder-of-a-later-version":                     "a folder, not a file",
		"identity-header-of-ours":                       "names that are taken",
		"identity-without-people":                       "what is in a list elsewhere",
		"idle-after-of-mayfly-s-own-operations":         "the app",
		"min-over-max":                                  "an order",
		"no-credential":                                 "the kind of an app, which is another key or file",
		"onward-to-its-own-app":                         "another key",
		"onward-without-a-workload":                     "another file",
		"pattern-that-leaves-its-anchors":               "what an expression means",
		"people-of-a-kind-without-pages":                "the kind of an app, which is another key or file",
		"bundle-with-a-parameter-of-two-types":          "another file",
		"bundle-with-a-signed-entitlement":              "another file",
		"plain-http-to-loopback-without-dev":            "how mayflyd was started",
		"plain-http":                                    "how mayflyd was started",
		"signer-s-key":                                  "what a key is",
		"step-up-of-a-workload":                         "another key",
		"streams-guard-behind-a-credential":             "the kind of an app, which is another key or file",
		"test-of-nobody":                                "another file",
		"upstream-that-is-protected-itself":             "another file",
	}
	schema := byPath(t)
	names, err := filepath.Glob(filepath.Join(root, "policy", "testdata", "bad", "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatal(len(names), err)
	}
	refused := 0
	for _, file := range names {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, code, _ := strings.Cut(string(a.Comment), "code: ")
		code, _, _ = strings.Cut(code, "\n")
		if !slices.Contains([]string{"unknown_key", "unsupported", "missing", "value"}, code) {
			continue
		}
		bad := false
		for _, f := range a.Files {
			s := schema(f.Name)
			if s == nil {
				continue
			}
			v, err := asEditor(f.Data)
			bad = bad || err != nil || s.Validate(v) != nil
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if _, known := beyond[name]; known == bad {
			t.Errorf("%s (%s): refused by the schema: %v", name, code, bad)
		}
		if bad {
			refused++
		}
	}
	if refused < 50 {
		t.Errorf("the schemas refuse %d bad policies only", refused)
	}
}

// Each key of a coming version has a bad policy that shows its refusal.
func TestEveryKeyOfAComingVersionIsRefused(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "policy", "testdata", "bad", "keys-of-a-coming-version-*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatal(len(names), err)
	}
	var all strings.Builder
	for _, file := range names {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for name, o := range objects(t) {
		for _, key := range o.later {
			want := ": " + name + ": " + key + " is not supported yet\n"
			if name == "param" {
				want = ": param folder: " + key + " is not supported yet\n"
			}
			if !strings.Contains(all.String(), want) {
				t.Errorf("no bad policy shows%s", want)
			}
		}
	}
}
