package console

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

func TestReadDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"45m": 45 * time.Minute, "90 min": 90 * time.Minute, "1h30m": 90 * time.Minute, "2 hours": 2 * time.Hour, "1 hour 5 minutes": 65 * time.Minute,
		" 30 Mins ": 30 * time.Minute, "1hr": time.Hour, "90s": 90 * time.Second, "10 seconds": 10 * time.Second, "1.5h": 90 * time.Minute,
		"": 0, "45": 0, "-5m": 0, "0s": 0, "soon": 0, "1 day": 0, "m": 0, "1h\x00": 0, "99999999h99999999h99999999h99999999h99999999h": 0,
	} {
		got, err := readDuration(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestDurationsInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", -time.Minute: "0 s", 45 * time.Second: "45 s", 30 * time.Minute: "30 min", 65 * time.Minute: "1 h 5 min", 49 * time.Hour: "2 d 1 h",
		time.Hour + time.Second: "1 h 1 s", 23*time.Minute + 59*time.Second: "23 min 59 s",
	} {
		if got := long(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := rough(23*time.Minute + 59*time.Second); got != "23 min" {
		t.Errorf("roughly %q", got)
	}
	for seconds, want := range map[string]string{"1800": "30 min", "3661": "1 h 1 min 1 s", "5400": "1 h 30 min", "x": "x s", "-1": "-1 s"} {
		if got := exact(seconds); got != want {
			t.Errorf("%s: %q, want %q", seconds, got, want)
		}
	}
}

func TestInstants(t *testing.T) {
	now := time.Date(2026, 1, 5, 14, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		t    time.Time
		want string
	}{
		{now.Add(5 * time.Minute), "14:05 UTC"}, {now.In(time.FixedZone("x", 3600)), "14:00 UTC"},
		{now.Add(24 * time.Hour), "6 Jan, 14:00 UTC"}, {now.Add(-240 * time.Hour), "26 Dec 2025, 14:00 UTC"}, {time.Time{}, ""},
	} {
		if got := at(c.t, now); got.Text != c.want {
			t.Errorf("%s: %q, want %q", c.t, got.Text, c.want)
		}
	}
	if now, before := seen(now, now).Text, seen(now.Add(-24*time.Hour), now).Text; now != "14:00:00 UTC" || before != "4 Jan, 14:00 UTC" {
		t.Errorf("seen now: %q, a day ago: %q", now, before)
	}
}

func TestWhatDoesNotPrintIsShown(t *testing.T) {
	for text, want := range map[string]string{
		"plain é 漢 👩\u200d💻\n\tنص": "plain é 漢 👩\u200d💻\n\tنص", "a\u202eb": `a\u202eb`, "a\x00b": `a\u0000b`, "a\xffb": `a\xffb`, "a\u2066b": `a\u2066b`,
		"a\u200bb": `a\u200bb`, "\ufeffa": `\ufeffa`, "a\r\nb": "a\nb", "a\ufffdb": "a\ufffdb", "a\u00a0b": "a\u00a0b", "a\u2028b": `a\u2028b`,
	} {
		if got := string(visible([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestConstraintsInWords(t *testing.T) {
	for _, c := range []struct {
		w    access.OfferWhere
		want string
	}{
		{access.OfferWhere{Attribute: "amount", Op: "max", Value: "5000", Unit: "minor_units", Words: "amount at most 5000"}, "amount at most 5000 in the smallest unit of the currency, such as cents"},
		{access.OfferWhere{Attribute: "amount", Op: "max", Value: "50.00 usd", Unit: "usd", Words: "amount at most 50.00 usd"}, "amount at most 50.00 usd"},
		{access.OfferWhere{Attribute: "currency", Op: "in", Value: []any{"usd", "eur"}, Words: "currency is one of usd, eur"}, "currency is one of usd, eur"},
		{access.OfferWhere{Attribute: "path", Op: "under", Value: "/daily", Words: "path at or below /daily"}, "path at or below /daily"},
		// The parts decide; words that say something else are shown as well.
		{access.OfferWhere{Attribute: "amount", Op: "max", Value: "5000", Words: "amount at most 5"}, "amount at most 5000 (amount at most 5)"},
		{access.OfferWhere{Attribute: "x", Op: "near", Value: "1", Words: ""}, "x near 1"},
	} {
		if got := whereText(c.w); got != c.want {
			t.Errorf("%v: %q, want %q", c.w, got, c.want)
		}
	}
}

func TestPlacesInThePicture(t *testing.T) {
	from := time.Date(2026, 1, 5, 14, 0, 30, 0, time.UTC)
	s := scale{from, from.Add(100 * time.Minute)}
	for d, want := range map[time.Duration]string{0: "1.50%", 50 * time.Minute: "50.00%", 100 * time.Minute: "98.50%", -time.Hour: "1.50%", 300 * time.Minute: "98.50%"} {
		if got := s.x(from.Add(d)); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	if got := (scale{from, from}).x(from); got != "1.50%" {
		t.Errorf("a moment: %s", got)
	}
	for _, whole := range []time.Duration{time.Second, 4 * time.Minute, 30 * time.Minute, 24 * time.Hour} {
		if n := len(axis(scale{from, from.Add(whole)})); n < 1 || n > 6 {
			t.Errorf("%s has %d marks", whole, n)
		}
	}

}
