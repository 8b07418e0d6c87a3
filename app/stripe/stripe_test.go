package stripe

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/apptest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func TestConformance(t *testing.T) { apptest.Run(t, newKind(t), "testdata") }

func newKind(t testing.TB) *Kind {
	t.Helper()
	k, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestEveryOperationIsNamed makes a request for each of the 594 operations from
// its catalogue line, with the required fields alone and then with every field.
func TestEveryOperationIsNamed(t *testing.T) {
	k := newKind(t)
	ops, err := readCatalogue(catalogueText)
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) != 594 || len(k.Catalogue().Specs()) != 594 {
		t.Fatalf("%d operations, want 594", len(ops))
	}
	for _, op := range ops {
		for _, all := range []bool{false, true} {
			r := synthesise(op, all)
			got, err := k.Classify(r)
			if err != nil || got.Name != op.spec.Name {
				t.Errorf("%s %s %s: named %q (%v), want %s", r.Method, r.Path, r.Body, got.Name, err, op.spec.Name)
				continue
			}
			apptest.CheckDeclared(t, k.Catalogue(), got)
		}
	}
}

// TestP2_NoOperationTakesAFieldThatItDoesNotHave adds one unknown field, and one
// unknown member of each composite field, to every operation.
func TestP2_NoOperationTakesAFieldThatItDoesNotHave(t *testing.T) {
	k := newKind(t)
	ops, err := readCatalogue(catalogueText)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		extras := []string{"not_a_field", "expand[]", "amount[x]"}
		for name, f := range op.fields {
			if s := f.shape.shape; s != nil && s.values.isZero() {
				extras = append(extras, name+"[not_a_field]")
			}
		}
		for _, extra := range extras {
			if op.upload {
				continue // see testdata
			}
			r := synthesise(op, false)
			if op.method == "POST" {
				r.Header.Set("Content-Type", formType)
				r.Body = append(r.Body, "&"+extra+"=1"...)
				r.Body = bytes.TrimPrefix(r.Body, []byte("&"))
			} else {
				r.Path += map[bool]string{true: "&", false: "?"}[strings.Contains(r.Path, "?")] + extra + "=1"
			}
			if got, err := k.Classify(r); err == nil {
				t.Errorf("%s takes the unknown field %s", got.Name, extra)
			}
		}
	}
}

func synthesise(op *operation, all bool) *app.Request {
	segments := strings.Split(op.template, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "id_1"
		}
	}
	var pairs, parts []string
	for name, f := range op.fields {
		if !all && !f.attribute.Required || all && name == "payment_intent" && strings.Contains(op.id, "Refund") {
			continue
		}
		key, value := sample(name, f)
		pairs = append(pairs, key+"="+value)
		if name != "file" {
			parts = append(parts, "--b\r\nContent-Disposition: form-data; name=\""+key+"\"\r\n\r\n"+value+"\r\n")
		}
	}
	form := strings.Join(pairs, "&")
	r := &app.Request{App: "stripe", Method: op.method, Authority: "stripe.acme.example", Path: strings.Join(segments, "/"), Header: map[string][]string{}}
	switch {
	case op.upload:
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		r.Body = []byte(strings.Join(parts, "") + "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n")
	case op.method == "POST" && form != "":
		r.Header.Set("Content-Type", formType)
		r.Body = []byte(form)
	case form != "":
		r.Path += "?" + form
	}
	return r
}

func sample(name string, f field) (key, value string) {
	switch f.attribute.Type {
	case scope.TypeInteger, scope.TypeMinorUnits, scope.TypeMoney:
		return name, "100"
	case scope.TypeBoolean:
		return name, "true"
	case scope.TypeString:
		return name, "usd"
	}
	s := f.shape.shape
	switch {
	case s == nil:
		return name, "x"
	case s.items.scalar:
		return name + "[]", "x"
	case s.values.scalar:
		return name + "[key]", "x"
	}
	for inner, r := range s.fields {
		if r.scalar {
			return name + "[" + inner + "]", "1"
		}
	}
	return name, ""
}

// TestTheDesignsEntitlement holds the names and types that the documented
// entitlement uses.
func TestTheDesignsEntitlement(t *testing.T) {
	c := newKind(t).Catalogue()
	for _, want := range []struct {
		operation, attribute string
		typ                  scope.Type
		required             bool
	}{
		{"refunds.create", "charge", scope.TypeString, false},
		{"refunds.create", "amount", scope.TypeMinorUnits, false},
		{"charges.retrieve", "charge", scope.TypeString, true},
		{"payment_intents.create", "amount", scope.TypeMoney, true},
		{"payment_intents.create", "transfer_data.destination", scope.TypeString, false},
		{"payment_intents.capture", "payment_intent", scope.TypeString, true},
		{"payment_intents.capture", "amount_to_capture", scope.TypeMinorUnits, false},
		{"setup_intents.confirm", "setup_intent", scope.TypeString, true},
		{"payouts.create", "amount", scope.TypeMoney, true},
		{"transfers.create", "amount", scope.TypeMinorUnits, false},
		{"transfers.create", "destination", scope.TypeString, true},
		{"subscriptions.delete", "subscription", scope.TypeString, true},
	} {
		spec, _ := c.Lookup(want.operation)
		a, ok := spec.Attribute(want.attribute)
		if !ok || a.Type != want.typ || a.Required != want.required || !a.Recordable {
			t.Errorf("%s %s is %+v, want %s, required %v, recordable", want.operation, want.attribute, a, want.typ, want.required)
		}
	}
}

// TestClasses lists one operation of each family; the whole is in catalogue.txt.
func TestClasses(t *testing.T) {
	c := newKind(t).Catalogue()
	for name, class := range map[string]scope.Class{
		"charges.retrieve": scope.ClassRead, "charges.search": scope.ClassRead, "customers.create": scope.ClassWrite,
		"refunds.create": scope.ClassMoney, "charges.create": scope.ClassMoney, "payment_intents.confirm": scope.ClassMoney,
		"payouts.create": scope.ClassMoney, "transfers.create": scope.ClassMoney, "topups.create": scope.ClassMoney,
		"treasury.outbound_payments.create": scope.ClassMoney, "issuing.cards.create": scope.ClassMoney, "credit_notes.create": scope.ClassMoney,
		"ephemeral_keys.create": scope.ClassSecret, "account_links.create": scope.ClassSecret, "accounts.login_links.create": scope.ClassSecret,
		"terminal.connection_tokens.create": scope.ClassSecret, "webhook_endpoints.create": scope.ClassSecret,
		"billing_portal.sessions.create": scope.ClassSecret, "apps.secrets.find": scope.ClassSecret, "file_links.create": scope.ClassSecret,
		"accounts.update": scope.ClassAdmin, "accounts.external_accounts.create": scope.ClassAdmin,
	} {
		if spec, _ := c.Lookup(name); spec.Class != class {
			t.Errorf("%s is %q, want %s", name, spec.Class, class)
		}
	}
	for _, spec := range c.Specs() {
		for _, word := range []string{"email", "description", "query", "client_secret", "number", "cvc", "token", "name", "phone", "ssn"} {
			if a, ok := spec.Attribute(word); ok && a.Recordable {
				t.Errorf("%s: %s may not stand in the record", spec.Name, word)
			}
		}
	}
}

// TestP2_AnAmountConstraintHolds tries to move more than was granted, in every
// spelling of the form.
func TestP2_AnAmountConstraintHolds(t *testing.T) {
	k := newKind(t)
	granted := scope.Scope{App: "stripe", Rules: []scope.Rule{{Operation: "refunds.create", Where: []scope.Constraint{
		{Attribute: "charge", Comparison: scope.Is, Values: []scope.Value{scope.Text("ch_1")}},
		{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.MinorUnits(5000)}},
	}}}}
	for body, want := range map[string]bool{
		"charge=ch_1&amount=5000": true, "amount=1&charge=ch_1": true, "%61mount=4200&charge=ch%5F1": true,
		"charge=ch_1&amount=5001": false, "charge=ch_1": false, "charge=ch_1&amount=": false, "charge=ch_2&amount=1": false,
		"charge=ch_1&amount=1&amount=9999": false, "charge=ch_1&amount=1&%61mount=9999": false, "charge=ch_1&amount=-1": false,
		"charge=ch_1&amount[]=1": false, "charge=ch_1&amount[0]=1": false, "charge=ch_1&amount=1;amount=9999": false,
		"charge=ch_1&amount=0x10": false, "charge=ch_1&amount=1e9": false, "charge=ch_1&amount=+1": false, "charge=ch_1&amount=01": false,
		"charge=ch_1&amount=9223372036854775808": false, "charge=ch_1&amount=１": false, "charge=ch_1&amount=1.0": false,
		"charge=ch_1&amount=1&payment_intent=pi_2": false, "charge=ch_1&amount=1&Amount=9999": false, "charge=ch_1&amount=1&amount%00=9": false,
		"charge=ch_1&amount=1&": false, "charge=ch_1&&amount=1": false, "charge=ch_1&amount=1&expand[]=charge": false,
		"charge[]=ch_1&amount=1": false, "charge=ch_1&amount=1&charge[x]=ch_2": false, "amount=1": false, "": false,
	} {
		r := refund(body)
		op, err := k.Classify(r)
		if err != nil && !grant.ReasonOf(err).Known() {
			t.Errorf("%q: reason of %v", body, err)
		}
		if got := err == nil && granted.Covers(op) == nil; got != want {
			t.Errorf("%q: allowed %v (%v, %v), want %v", body, got, op.Attributes, err, want)
		}
	}
}

func TestTheBodyOfEveryMethodThatStripeHasIsSeen(t *testing.T) {
	if got := app.BodyMethods(newKind(t)); strings.Join(got, " ") != "DELETE GET POST" {
		t.Errorf("the body is seen of %v", got)
	}
}
