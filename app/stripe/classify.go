package stripe

import (
	"maps"
	"mime"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// Classify names the operation of r from its method, path and form.
func (k *Kind) Classify(r *app.Request) (scope.Operation, error) {
	path, err := app.ParsePath(r.Path)
	if err != nil {
		return scope.Operation{}, err
	}
	if path.Slash {
		return scope.Operation{}, malformed("the path ends with a slash")
	}
	if err := checkHeaders(r.Header); err != nil {
		return scope.Operation{}, err
	}
	op, labels := k.routes.find(r.Method, path.Segments)
	if op == nil {
		return scope.Operation{}, grant.Deny(grant.UnknownOperation, "Stripe has no operation %.16q %.128q that is known here", r.Method, path.String())
	}
	form, err := op.readForm(r, path)
	if err != nil {
		return scope.Operation{}, err
	}
	attributes, err := op.attributes(labels, form)
	if err != nil {
		return scope.Operation{}, err
	}
	return scope.Operation{
		App: r.App, Name: op.spec.Name, Class: op.spec.Class,
		Resource: op.resource(attributes), Attributes: attributes,
	}, nil
}

// readForm returns the fields of r, from the query of a GET, the body of a POST,
// and either of a DELETE.
func (op *operation) readForm(r *app.Request, path app.Path) (*formValue, error) {
	if path.HasQuery && op.method == "POST" {
		return nil, malformed("a POST has its fields in the body, not in the query")
	}
	if len(r.Body) > 0 && (path.HasQuery || op.method == "GET") {
		return nil, malformed("a %s has its fields in the query, not in a body", op.method)
	}
	if len(r.Body) == 0 {
		return parseForm(path.Query)
	}
	if len(r.Body) > app.MaxBody {
		return nil, grant.Deny(grant.BodyTooLarge, "the body is larger than %d bytes", app.MaxBody)
	}
	contentType, err := app.OneValue(r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, malformed("the content type %.64q cannot be read", contentType)
	}
	if op.upload {
		return readUpload(media, params, r.Body)
	}
	charset, ok := params["charset"]
	if media != formType || ok != (len(params) == 1) || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, malformed("the content type is %.64q: Stripe's API takes %s", contentType, formType)
	}
	return parseForm(string(r.Body))
}

const formType = "application/x-www-form-urlencoded"

// attributes checks every field against the description and returns the values
// that a decision may be made on.
func (op *operation) attributes(labels []string, form *formValue) (scope.Attributes, error) {
	out := make(scope.Attributes, len(labels)+len(form.members))
	for i, label := range op.labels {
		if !isID(labels[i]) {
			return nil, malformed("%.64q is no %s", labels[i], label.Name)
		}
		out[label.Name] = scope.Text(labels[i])
	}
	for _, name := range slices.Sorted(maps.Keys(form.members)) {
		if err := op.addField(out, name, form.members[name]); err != nil {
			return nil, err
		}
	}
	if err := op.addMoney(out, form); err != nil {
		return nil, err
	}
	if err := op.addNested(out, form); err != nil {
		return nil, err
	}
	return out, op.checkWhole(out)
}

func (op *operation) addField(out scope.Attributes, name string, v *formValue) error {
	if name == "expand" {
		return grant.Deny(grant.UnknownOperation, "expand reads other objects than the one asked for, which no entitlement covers; ask for each by its own operation")
	}
	f, ok := op.fields[name]
	if !ok {
		return malformed("%s has no field %.64q that is known here", op.spec.Name, name)
	}
	if err := f.shape.check(v, name); err != nil {
		return err
	}
	if !v.leaf || f.attribute.Type == scope.TypeNone || f.attribute.Type == scope.TypeMoney {
		return nil
	}
	return add(out, f.attribute, v.text)
}

// add puts one typed value. The empty text unsets a number or a switch, which is
// then absent and meets no constraint.
func add(out scope.Attributes, a scope.AttributeSpec, text string) error {
	if text == "" && a.Type != scope.TypeString {
		return nil
	}
	v, err := scope.ParseValue(a.Type, text)
	if err != nil {
		return malformed("%s is %.32q, which is no %s", a.Name, text, a.Type)
	}
	out[a.Name] = v
	return nil
}

// addMoney joins amount and currency where the description requires both.
func (op *operation) addMoney(out scope.Attributes, form *formValue) error {
	amount, currency := form.members["amount"], form.members["currency"]
	if op.fields["amount"].attribute.Type != scope.TypeMoney || amount == nil || currency == nil || amount.text == "" {
		return nil // a missing one is refused by checkWhole
	}
	n, err := scope.ParseValue(scope.TypeMinorUnits, amount.text)
	if err != nil {
		return malformed("amount is %.32q, which is no whole number", amount.text)
	}
	if len(currency.text) != 3 || strings.Trim(currency.text, "abcdefghijklmnopqrstuvwxyz") != "" {
		return malformed("currency is %.16q: want three small letters", currency.text)
	}
	out["amount"] = scope.OfMoney(scope.Money{Minor: n.Int(), Currency: currency.text})
	return nil
}

// addNested adds attributes one level down, such as transfer_data.destination.
func (op *operation) addNested(out scope.Attributes, form *formValue) error {
	for _, a := range op.nested {
		outer, inner, _ := strings.Cut(a.Name, ".")
		parent := form.members[outer]
		if parent == nil || parent.members[inner] == nil || !parent.members[inner].leaf {
			continue
		}
		if err := add(out, a, parent.members[inner].text); err != nil {
			return err
		}
	}
	return nil
}

// checkWhole refuses a request without a required attribute, and one that names
// its object in two ways.
func (op *operation) checkWhole(out scope.Attributes) error {
	for _, a := range op.spec.Attributes {
		if _, ok := out[a.Name]; a.Required && !ok {
			return malformed("%s needs %s", op.spec.Name, a.Name)
		}
	}
	if strings.Contains(op.id, "Refund") && op.method == "POST" {
		_, charge := out["charge"]
		_, intent := out["payment_intent"]
		if charge && intent {
			return grant.Deny(grant.AmbiguousOperation, "the refund names both a charge and a payment_intent; name one")
		}
	}
	return nil
}

// resource is the object that the operation is about: the ids in its path, else
// the first of the objects that its form names. It is shown in the record.
func (op *operation) resource(attributes scope.Attributes) string {
	var ids []string
	for _, label := range op.labels {
		if label.Recordable {
			ids = append(ids, attributes[label.Name].String())
		}
	}
	if len(op.labels) > 0 {
		return strings.Join(ids, "/")
	}
	for _, name := range [...]string{"charge", "payment_intent", "invoice", "subscription", "customer", "account", "destination"} {
		a, ok := op.spec.Attribute(name)
		if v := attributes[name]; ok && a.Recordable && v.String() != "" {
			return v.String()
		}
	}
	return ""
}

// isID reports whether s can be the id of one of Stripe's objects.
func isID(s string) bool {
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:@~"
	return s != "" && len(s) <= 255 && strings.Trim(s, chars) == ""
}
