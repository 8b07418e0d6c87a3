package console

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
)

// when is an instant as a page shows it.
type when struct {
	Stamp string // for <time datetime>
	Text  string
}

// at shows t to somebody who looks at now; the zero time is not shown.
func at(t, now time.Time) when {
	if t.IsZero() {
		return when{}
	}
	t, now = t.UTC(), now.UTC()
	text := t.Format("15:04 UTC")
	switch {
	case t.Year() != now.Year():
		text = t.Format("2 Jan 2006, 15:04 UTC")
	case t.YearDay() != now.YearDay():
		text = t.Format("2 Jan, 15:04 UTC")
	}
	return when{stampText(t), text}
}

// stampText is an instant for machines, to the second.
func stampText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// instant is one for scripts, to the millisecond: a clock a second late would
// show more time than there is.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// long shows a duration in its two largest units: "1 h 5 min", "45 s".
func long(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Second {
		return "0 s"
	}
	var out []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.size; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.size
		}
	}
	return strings.Join(out[:min(2, len(out))], " ")
}

// rough is long without seconds once there are minutes.
func rough(d time.Duration) string {
	if d >= time.Minute {
		d = d.Truncate(time.Minute)
	}
	return long(d)
}

// exact shows a duration with every unit that it has.
func exact(seconds string) string {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 || n > int64(1000*time.Hour/time.Second) {
		return seconds + " s"
	}
	d := time.Duration(n) * time.Second
	text := long(d)
	if d >= time.Hour && d%time.Minute != 0 {
		text += fmt.Sprintf(" %d s", d%time.Minute/time.Second)
	}
	return text
}

// readDuration reads what people type: 90m, 1h30m, 90 min, 2 hours.
func readDuration(s string) (time.Duration, error) {
	text := strings.ToLower(strings.Join(strings.Fields(s), ""))
	for _, unit := range []struct{ short, words string }{{"h", "hours?|hrs?"}, {"m", "minutes?|mins?"}, {"s", "seconds?|secs?"}} {
		text = regexp.MustCompile(`([0-9])(?:`+unit.words+`)`).ReplaceAllString(text, "${1}"+unit.short)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || len(s) > 40 {
		return 0, fmt.Errorf("%s is not a duration: write 45m, 90 min, 2h or 1h30m", strconv.Quote(clip(s)))
	}
	return d, nil
}

// subject says in words whom a text of policy names.
func subject(text string) string {
	if rest, ok := strings.CutPrefix(text, "group:"); ok {
		source, name, _ := strings.Cut(rest, "/")
		return name + " (group at " + source + ")"
	}
	return text
}

func subjects(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = subject(t)
	}
	return orList(out)
}

// orList joins texts as people would: a, b or c.
func orList(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " or " + texts[len(texts)-1]
}

// party is somebody as a page shows them.
type party struct {
	Name      string
	Principal string // "" if Name says it
	Person    string // "" if nothing is added by it
}

func named(shown, principal, person string) party {
	p := party{Name: shown, Principal: principal, Person: person}
	if shown == "" || shown == principal {
		p.Name, p.Principal = principal, ""
	}
	if person == principal || strings.EqualFold(person, shown) {
		p.Person = ""
	}
	return p
}

func personText(p identity.Person) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}

// sentence makes a sentence of words that begin in lower case.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	first, n := utf8.DecodeRuneInString(s)
	// A name, such as stripe/refunds, keeps its case.
	if word, _, _ := strings.Cut(s, " "); !strings.ContainsAny(word, "/:._@") {
		s = string(unicode.ToUpper(first)) + s[n:]
	}
	if last, _ := utf8.DecodeLastRuneInString(s); strings.ContainsRune(".?!", last) {
		return s
	}
	return s + "."
}

// clip shortens text of the caller's that is shown back.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// head shortens a digest for people.
func head(digest string) string {
	const shown = 12
	if len(digest) > shown {
		return digest[:shown]
	}
	return digest
}

// withReturn adds where somebody was going to an address of ours.
func withReturn(path string, d destination) string {
	if d.URL == "" {
		return path
	}
	return path + "?return=" + url.QueryEscape(d.URL)
}

// seen is precise, with the day unless that is today: what is told may be long ago.
func seen(t, now time.Time) when {
	out := precise(t)
	if rough := at(t, now); rough.Text != t.UTC().Format("15:04 UTC") {
		out.Text = rough.Text
	}
	return out
}

// precise is an instant to the second, as the record has it.
func precise(t time.Time) when { return when{audit.Stamp(t), t.UTC().Format("15:04:05 UTC")} }
