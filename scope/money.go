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
// if the currency is not known: a guess would be wrong by a factor of 100. The
// krona of Iceland (isk), the shilling of Uganda (ugx) and the ariary (mga) are
// left out, because payment providers count them in other units than ISO 4217.
func exponent(currency string) int {
	const (
		none = " bif clp djf gnf jpy kmf krw pyg rwf vnd vuv xaf xof xpf "
		two  = " aed afn all amd aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp " +
			"gbp gel ghs gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad " +
			"ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd sar sbd scr sek sgd shp sle sos srd szl thb tjs top try ttd twd tzs uah usd uyu uzs wst xcd yer zar zmw "
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

// parseMinor reads what String writes of an amount that ParseMoney never makes.
func parseMinor(s string) (Money, bool) {
	amount, currency, _ := strings.Cut(s, " minor ")
	n, err := strconv.ParseInt(amount, 10, 64)
	m := Money{Minor: n, Currency: currency}
	return m, err == nil && len(currency) == 3 && m.String() == s
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
