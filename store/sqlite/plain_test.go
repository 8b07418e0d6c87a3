package sqlite

import (
	"database/sql"
	"reflect"
	"testing"

	"github.com/mayflyproxy/mayfly/scope"
)

// What was written is read by hand: without this the quick way could rot unseen.
func TestWhatIsWrittenOfAGrantIsReadByHand(t *testing.T) {
	for _, s := range []scope.Scope{
		{},
		{App: "stripe", Rules: []scope.Rule{}},
		{App: "stripe", Rules: []scope.Rule{
			{Operation: "charges.list"},
			{Operation: "refunds.create", Where: []scope.Constraint{
				{Attribute: "charge", Comparison: scope.Is, Values: []scope.Value{scope.Text("ch_1")}},
				{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.OfMoney(scope.Money{Minor: 4200, Currency: "usd"})}},
				{Attribute: "n", Comparison: scope.Max, Values: []scope.Value{scope.Integer(-3)}},
			}},
		}},
	} {
		p, written := plain{text: textOf(t, s)}, textOf(t, s)
		if got := p.scope(); !p.over() || !reflect.DeepEqual(got, s) {
			t.Errorf("%s is read as %v, whole: %t", written, got, p.over())
		}
	}
	for _, m := range []map[string]string{nil, {}, {"folder": "/daily/1"}, {"a": "1", "b": ""}} {
		p := plain{text: textOf(t, m)}
		if got := p.params(); !p.over() || !reflect.DeepEqual(got, m) {
			t.Errorf("%v is read as %v, whole: %t", m, got, p.over())
		}
	}
}

// Whatever stands in a row, it is read as encoding/json reads it, or refused.
func FuzzColumnsOfAGrant(f *testing.F) {
	for _, text := range []string{
		`{"app":"stripe","operations":[{"name":"refunds.create","where":[{"attribute":"charge","op":"is","values":[{"type":"string","value":"ch_1"}]}]}]}`,
		`{"app":"stripe","operations":[{"name":"refunds.create","where":null}]}`,
		`{"app":"stripe","operations":[]}`, `{"app":"stripe","operations":[{"name":"a","where":[]},]}`,
		`{"app":"a","operations":[{"name":"b","where":[{"attribute":"c","op":"max","values":[{"type":"money","value":"1.00 usd"},{"type":"path","value":"/a"}]}]}],"until":1}`,
		`{"app":"a","operations":[{"name":"b","where":[{"attribute":"c","op":"is","values":[{"type":"integer","value":"x"}]}]}]}`,
		`{"app":"caf\u00e9","operations":null}`, `{"app":"café","operations":null}`, "{\"app\":\"a\xff\",\"operations\":null}", "{\"app\":\"a\x01\",\"operations\":null}",
		`{"app":"a","operations":null} `, `{"app":"a","operations":null}{`, `{"App":"a","operations":null}`, `{"app":"a","app":"b"}`,
		`null`, `{}`, ``, `{"folder":"/daily/1"}`, `{"a":"1","a":"2"}`, `{"a":"1",}`, `{"a":1}`, `{"a":null}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compare(t, text, asScope)
		compare(t, text, asParams)
	})
}

func compare[T any](t *testing.T, text string, by func(*T) sql.Scanner) {
	t.Helper()
	var got, want T
	failed, wrong := by(&got).Scan(text), asObject(&want).Scan(text)
	switch {
	case (failed == nil) != (wrong == nil):
		t.Errorf("%q: %v, and encoding/json: %v", text, failed, wrong)
	case failed == nil && !reflect.DeepEqual(got, want):
		t.Errorf("%q is read as %v, and by encoding/json as %v", text, got, want)
	}
}

func textOf(t *testing.T, v any) string {
	t.Helper()
	text, err := object{v}.Value()
	if err != nil {
		t.Fatal(err)
	}
	return text.(string)
}
