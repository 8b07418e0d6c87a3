package sqlite

import "strings"

// where gathers the conditions of a filtered list. It takes column names from
// code only, and values as arguments.
type where struct {
	terms []string
	args  []any
}

func (w *where) and(term string, args ...any) {
	w.terms, w.args = append(w.terms, term), append(w.args, args...)
}

// equal narrows by a column, unless the value is empty.
func (w *where) equal(column, value string) {
	if value != "" {
		w.and(column+" = ?", value)
	}
}

// before continues a list after the last id of the page before.
func (w *where) before(id string) {
	if id != "" {
		w.and("id < ?", id)
	}
}

// page ends the statement: newest first, n rows or the usual number.
func (w *where) page(n int) string {
	out := ""
	if len(w.terms) > 0 {
		out = "WHERE " + strings.Join(w.terms, " AND ") + " "
	}
	w.args = append(w.args, limitOf(n))
	return out + "ORDER BY id DESC LIMIT ?"
}
