package server

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query reads a query strictly: names must be known, and stand once.
type query struct {
	values url.Values
	err    error
}

func readQuery(raw string, known ...string) *query {
	v, err := url.ParseQuery(raw)
	q := &query{values: v}
	if err != nil {
		q.err = invalid("the query is not in the form a=b&c=d")
		return q
	}
	for name, values := range v {
		switch {
		case !slices.Contains(known, name):
			q.err = invalid("unknown parameter "+strconv.Quote(clip(name)), known...)
		case len(values) != 1:
			q.err = invalid("parameter " + name + " stands twice")
		}
	}
	return q
}

// text returns a parameter, "" if it is not there.
func (q *query) text(name string) string { return q.values.Get(name) }

// choice returns a parameter that must be one of allowed, or be missing.
func (q *query) choice(name string, allowed ...string) string {
	v := q.values.Get(name)
	if q.values.Has(name) && !slices.Contains(allowed, v) && q.err == nil {
		q.err = invalid("parameter "+name+" is "+strconv.Quote(clip(v))+", not one of "+strings.Join(allowed, ", "), allowed...)
	}
	return v
}

// flag returns whether a parameter is 1; only 1 and 0 are taken.
func (q *query) flag(name string) bool { return q.choice(name, "0", "1") == "1" }

// number returns a parameter between 1 and most, 0 if it is not there.
func (q *query) number(name string, most int) int {
	v := q.values.Get(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if (err != nil || n < 1 || n > most) && q.err == nil {
		q.err = invalid("parameter " + name + " is not a number from 1 to " + strconv.Itoa(most))
	}
	return n
}

// parse reads a parameter with f, unless it is missing.
func (q *query) parse(name string, f func([]byte) error) {
	if v := q.values.Get(name); v != "" && f([]byte(v)) != nil && q.err == nil {
		q.err = invalid("parameter " + name + " is " + strconv.Quote(clip(v)) + ", which is not what a page gave")
	}
}
