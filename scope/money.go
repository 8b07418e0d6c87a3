package scope

import (
	"fmt"
	"strconv"
	"strings"
)

// Money is an amount in the smallest unit of its currency. Two amounts compare
// only in the same currency.
type Money struct {
	Minor    int64
	Currency string // ISO 4217, lower case
}

// exponent returns how many decimals a currency's major unit has (ISO 4217), -1
// if the currency is not known: a guess would be wrong by a factor of 100.
func exponent(currency string) int {
	const (
		none  = " bif clp djf gnf jpy kmf krw pyg rwf vnd vuv xaf xof xpf "
		two   = " aed ars aud bgn brl cad chf cny czk dkk egp eur gbp hkd huf idr ils inr kes mad mxn myr ngn nok nzd pen php pkr pln ron rsd sar sek sgd thb try twd uah usd zar "
		three = " bhd jod kwd omr tnd "
	)
	if len(currency) != 3 || strings.Contains(currency, " ") {
		return -1
	}
	word := " " + currency + " "
	switch {
	case strings.Contains(two, word):
		return 2
	case strings.Contains(none, word):
		return 0
	case strings.Contains(three, word):
		return 3
	default:
		return -1
	}
}

// KnownCurrency reports whether c is a currency (lower case) whose minor unit is known.
func KnownCurrency(c string) bool { return exponent(c) >= 0 }

// ParseMoney reads decimal major units and a currency, such as "500.00 usd" or
// "500 jpy". Exactly the currency's decimals, or none, are accepted, so that
// nobody has to guess what 5.0 means.
func ParseMoney(s string) (Money, error) {
	amount, currency, ok := strings.Cut(s, " ")
	exp := exponent(currency)
	if !ok || exp < 0 {
		return Money{}, fmt.Errorf("money %q: want an amount and a known currency, such as 500.00 usd", s)
	}
	whole, part, dotted := strings.Cut(amount, ".")
	if dotted && len(part) != exp || dotted && exp == 0 || !digits(whole) || dotted && !digits(part) {
		return Money{}, fmt.Errorf("money %q: want %d decimals or none", s, exp)
	}
	if !dotted {
		part = strings.Repeat("0", exp)
	}
	if len(whole) > 1 && whole[0] == '0' {
		return Money{}, fmt.Errorf("money %q: leading zero", s)
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	if err != nil {
		return Money{}, fmt.Errorf("money %q: too large", s)
	}
	return Money{Minor: n, Currency: currency}, nil
}

// String returns the text that ParseMoney reads, with all decimals. A negative
// amount or an unknown currency (which ParseMoney never makes) is shown in
// minor units.
func (m Money) String() string {
	exp := exponent(m.Currency)
	if exp < 0 || m.Minor < 0 {
		return fmt.Sprintf("%d minor %s", m.Minor, m.Currency)
	}
	s := strconv.FormatInt(m.Minor, 10)
	if exp == 0 {
		return s + " " + m.Currency
	}
	if len(s) <= exp {
		s = strings.Repeat("0", exp-len(s)+1) + s
	}
	return s[:len(s)-exp] + "." + s[len(s)-exp:] + " " + m.Currency
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
