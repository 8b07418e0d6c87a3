package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// plain returns s with everything escaped that does not simply print: control
// characters could move the cursor, and marks of direction could show another
// text than was written. Names and reasons are other people's.
func plain(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case c == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(c) && c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\U%08x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// table writes rows below a head, in columns.
func (a *app) table(head []string, rows [][]string) {
	w := tabwriter.NewWriter(a.c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // a closed stdout is nobody to tell
}

// pairs writes names and values, one a line; empty values are left out.
func (a *app) pairs(lines ...[2]string) {
	w := tabwriter.NewWriter(a.c.Stdout, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		if l[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", plain(l[0]), plain(l[1]))
		}
	}
	_ = w.Flush()
}

// json writes v for programs.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.c.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// isJSON reports whether a program reads the output.
func (a *app) isJSON() bool { return a.output == "json" }

const stampLayout = "2006-01-02T15:04:05.000000Z"

// clock shows one of the API's times to the second, in UTC.
func clock(s string) string {
	t, err := time.Parse(stampLayout, s)
	if err != nil {
		return s
	}
	return t.Format("2006-01-02 15:04:05Z")
}

// left shows how long it is until one of the API's times.
func (a *app) left(s string) string {
	t, err := time.Parse(stampLayout, s)
	if err != nil {
		return ""
	}
	d := t.Sub(a.c.Now()).Truncate(time.Second)
	if d <= 0 {
		return "over"
	}
	return d.String()
}

// count is a number of things, which there may be one of: what is the word for one.
func count(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y") && !strings.HasSuffix(what, "ay") && !strings.HasSuffix(what, "ey"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// paramText shows parameters by name.
func paramText(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, name+"="+m[name])
	}
	return strings.Join(out, " ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
