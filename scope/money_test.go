package scope

import (
	"math"
	"testing"
)

func TestParseMoney(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Money
		text string // "" is refused
	}{
		{"500.00 usd", Money{50000, "usd"}, "500.00 usd"},
		{"500 usd", Money{50000, "usd"}, "500.00 usd"},
		{"0.01 usd", Money{1, "usd"}, "0.01 usd"},
		{"0 usd", Money{0, "usd"}, "0.00 usd"},
		{"500 jpy", Money{500, "jpy"}, "500 jpy"},
		{"1.234 kwd", Money{1234, "kwd"}, "1.234 kwd"},
		{"92233720368547758.07 usd", Money{math.MaxInt64, "usd"}, "92233720368547758.07 usd"},
		{"92233720368547758.08 usd", Money{}, ""},
		{"92233720368547759 usd", Money{}, ""},
		{"500.0 usd", Money{}, ""},
		{"500.000 usd", Money{}, ""},
		{"500. usd", Money{}, ""},
		{".50 usd", Money{}, ""},
		{"500.00 jpy", Money{}, ""},
		{"500. jpy", Money{}, ""},
		{"1.23 kwd", Money{}, ""},
		{"-5.00 usd", Money{}, ""},
		{"+5.00 usd", Money{}, ""},
		{"05.00 usd", Money{}, ""},
		{"5e2 usd", Money{}, ""},
		{"5,000.00 usd", Money{}, ""},
		{"５.00 usd", Money{}, ""},
		{"500.00 USD", Money{}, ""},
		{"500.00usd", Money{}, ""},
		{"500.00  usd", Money{}, ""},
		{" 500.00 usd", Money{}, ""},
		{"500.00 usd ", Money{}, ""},
		{"500.00", Money{}, ""},
		{"500.00 xyz", Money{}, ""},
		{"500.00 sd ", Money{}, ""},
		{"500 isk", Money{}, ""}, // its unit differs between ISO 4217 and payment providers
		{"500 minor usd", Money{}, ""},
		{"", Money{}, ""},
	} {
		got, err := ParseMoney(c.in)
		if (err == nil) != (c.text != "") || got != c.want {
			t.Errorf("ParseMoney(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if err == nil && got.String() != c.text {
			t.Errorf("%q is shown as %q, want %q", c.in, got, c.text)
		}
	}
}

func TestMoneyThatNoPolicyCanWriteIsShownInMinorUnits(t *testing.T) {
	for m, want := range map[Money]string{
		{-500, "usd"}:          "-500 minor usd",
		{500, "isk"}:           "500 minor isk",
		{math.MinInt64, "usd"}: "-9223372036854775808 minor usd",
	} {
		if m.String() != want {
			t.Errorf("%+v is shown as %q, want %q", m, m, want)
		}
		if v, err := ParseValue(TypeMoney, want); err != nil || v != OfMoney(m) {
			t.Errorf("%q is read as %v, %v", want, v, err)
		}
	}
	for _, s := range []string{"500 minor usd", "0500 minor isk", "500 minor", "500 minor isk ", "x minor isk", "500 minor  isk", "+5 minor isk"} {
		if v, err := ParseValue(TypeMoney, s); err == nil {
			t.Errorf("%q is read as %v", s, v)
		}
	}
}

func TestKnownCurrency(t *testing.T) {
	for c, want := range map[string]bool{"usd": true, "jpy": true, "bhd": true, "USD": false, "": false, "us": false, "usdx": false, "d e": false, " us": false} {
		if KnownCurrency(c) != want {
			t.Errorf("%q: want %v", c, want)
		}
	}
}
