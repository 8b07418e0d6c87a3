package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// The attributes of every operation of the kind.
const (
	AttributePath = "path"
	AttributeHost = "host"
)

// Kind is the kind web. Make it with New.
type Kind struct {
	catalogue *scope.Catalogue
	byMethod  map[string]scope.Spec
	webSocket scope.Spec
}

// New returns the kind. It fails only if its own catalogue is broken.
func New() (*Kind, error) {
	k := &Kind{byMethod: map[string]scope.Spec{}}
	var specs []scope.Spec
	for method, class := range methods() {
		spec := newSpec(strings.ToLower(method), class)
		specs, k.byMethod[method] = append(specs, spec), spec
	}
	k.webSocket = newSpec("websocket", scope.ClassWrite)
	var err error
	k.catalogue, err = scope.NewCatalogue(append(specs, k.webSocket))
	return k, err
}

func newSpec(name string, class scope.Class) scope.Spec {
	return scope.Spec{
		Name:  "http." + name,
		Class: class,
		Attributes: []scope.AttributeSpec{
			{Name: AttributePath, Type: scope.TypePath, Required: true, Recordable: true},
			{Name: AttributeHost, Type: scope.TypeString, Required: true, Recordable: true},
		},
	}
}

// methods lists the known methods. Any other, CONNECT and TRACE among them, is
// an unknown operation.
func methods() map[string]scope.Class {
	return map[string]scope.Class{
		http.MethodGet: scope.ClassRead, http.MethodHead: scope.ClassRead, http.MethodOptions: scope.ClassRead,
		http.MethodPost: scope.ClassWrite, http.MethodPut: scope.ClassWrite,
		http.MethodPatch: scope.ClassWrite, http.MethodDelete: scope.ClassWrite,
	}
}

// Name returns "web".
func (k *Kind) Name() string { return "web" }

// Catalogue returns one operation for each method.
func (k *Kind) Catalogue() *scope.Catalogue { return k.catalogue }

// Needs is NeedsHeaders for every method: bodies stream.
func (k *Kind) Needs(string) app.Needs { return app.NeedsHeaders }

// Classify names the operation by method, with the path as its resource.
func (k *Kind) Classify(r *app.Request) (scope.Operation, error) {
	spec, ok := k.byMethod[r.Method]
	if !ok {
		return scope.Operation{}, grant.Deny(grant.UnknownOperation, "the method %.32q is not known", r.Method)
	}
	if upgrade := r.Header["Upgrade"]; len(upgrade) > 0 {
		if len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") || r.Method != http.MethodGet {
			return scope.Operation{}, grant.Deny(grant.UnknownOperation, "the request asks to change to another protocol")
		}
		spec = k.webSocket
	}
	if err := app.CheckOverrides(r.Header); err != nil {
		return scope.Operation{}, err
	}
	path, err := app.ParsePath(r.Path)
	if err != nil {
		return scope.Operation{}, err
	}
	if err := checkQuery(path.Query); err != nil {
		return scope.Operation{}, err
	}
	host, err := hostOf(r.Authority)
	if err != nil {
		return scope.Operation{}, err
	}
	return scope.Operation{
		App: r.App, Name: spec.Name, Resource: path.String(), Class: spec.Class,
		Attributes: scope.Attributes{AttributePath: scope.Path(path.String()), AttributeHost: scope.Text(host)},
	}, nil
}

// Refuse writes an RFC 9457 problem.
func (k *Kind) Refuse(d *grant.Denial) app.Response { return app.Problem(d) }

// checkQuery refuses the query parameter by which some frameworks take another
// method.
func checkQuery(query string) error {
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		key, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(key); err == nil && strings.EqualFold(name, "_method") {
			return grant.Deny(grant.ConflictingHeaders, "the query asks for another method than the request line")
		}
	}
	return nil
}

// hostOf returns the authority's host in lower case, without its port.
func hostOf(authority string) (string, error) {
	host, port, _ := strings.Cut(strings.ToLower(authority), ":")
	if !only(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") || host == "" || strings.HasSuffix(host, ".") || !only(port, "0123456789") {
		return "", grant.Deny(grant.Malformed, "the host is not a plain name")
	}
	return host, nil
}

func only(s, allowed string) bool { return strings.Trim(s, allowed) == "" }
