package access

import (
	"strconv"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func parseGrantID(s string) (grant.GrantID, error) {
	var id grant.GrantID
	err := id.UnmarshalText([]byte(s))
	return id, err
}

func parseSpoolID(s string) (grant.SpoolID, error) {
	var id grant.SpoolID
	if s == "" {
		s = "spl_"
	}
	err := id.UnmarshalText([]byte(s))
	return id, err
}

// splitAmount reads the text of a money or minor_units value as decimal minor
// units and a currency; both are empty for an empty text.
func splitAmount(s string) (amount, currency string, err error) {
	if s == "" {
		return "", "", nil
	}
	if v, err := scope.ParseValue(scope.TypeMinorUnits, s); err == nil {
		return v.String(), "", nil
	}
	m, err := scope.ParseMoney(s)
	if err != nil {
		return "", "", err
	}
	return strconv.FormatInt(m.Minor, 10), m.Currency, nil
}
