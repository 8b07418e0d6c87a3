package grant

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

func at(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func TestAnyOtherSpellingOfAnIDIsRefused(t *testing.T) {
	good := NewMinter().NewGrantID(at(1_800_000_000)).String()
	if id, err := ParseID[grantKind](good); err != nil || id.String() != good || id.IsZero() {
		t.Fatalf("ParseID(%q) = %v, %v", good, id, err)
	}
	body := strings.TrimPrefix(good, "grt_")
	for name, s := range map[string]string{
		"empty": "", "prefix alone": "grt_", "no prefix": body, "another kind": "req_" + body, "prefix in capitals": "GRT_" + body,
		"small letters": "grt_" + strings.ToLower(body), "too short": good[:len(good)-1], "too long": good + "0", "space in front": " " + good,
		"line feed": good + "\n", "letter that is no digit": "grt_" + body[:25] + "I", "another": "grt_" + body[:25] + "U", "hyphen": "grt_" + body[:25] + "-",
		"more than 128 bits": "grt_8" + body[1:], "zero byte": "grt_" + body[:25] + "\x00", "nil UUID": "grt_" + strings.Repeat("0", 26), "wide digit": "grt_" + body[:23] + "０",
	} {
		if id, err := ParseID[grantKind](s); err == nil || !id.IsZero() {
			t.Errorf("%s: %q is taken for %v", name, s, id)
		}
		var id GrantID
		if err := id.UnmarshalText([]byte(s)); s != "" && err == nil {
			t.Errorf("%s: %q is unmarshalled to %v", name, s, id)
		}
	}
}

func TestIDsHaveTheirPrefixAndLayout(t *testing.T) {
	m, now := NewMinter(), at(1_800_000_000)
	for prefix, id := range map[string]string{
		"req_": m.NewRequestID(now).String(), "off_": m.NewOfferID(now).String(), "apr_": m.NewApprovalID(now).String(),
		"grt_": m.NewGrantID(now).String(), "act_": m.NewActionID(now).String(), "ses_": m.NewSessionID(now).String(),
		"den_": m.NewDenialID(now).String(), "rec_": m.NewRecordID(now).String(), "spl_": m.NewSpoolID(now).String(),
		"rsv_": m.NewReservationID(now).String(),
	} {
		if !strings.HasPrefix(id, prefix) || len(id) != 30 {
			t.Errorf("%q: want %s and 26 characters", id, prefix)
		}
		u := bitsOf(t, id[4:])
		if ms := binary.BigEndian.Uint64(u[:8]) >> 16; ms != uint64(now.UnixMilli()) {
			t.Errorf("%s has the time %d, want %d", id, ms, now.UnixMilli())
		}
		if u[6]>>4 != 7 || u[8]>>6 != 2 {
			t.Errorf("%s is no UUIDv7: %x", id, u)
		}
	}
}

func TestEncodeIsCrockfordInULIDLayout(t *testing.T) {
	var all [16]byte
	for i := range all {
		all[i] = 0xff
	}
	for want, u := range map[string][16]byte{
		"00000000000000000000000000": {},
		"7ZZZZZZZZZZZZZZZZZZZZZZZZZ": all,
		"00000000000000000000000001": {15: 1},
		"40000000000000000000000000": {0: 0x80},
		// The example of RFC 9562 appendix A.6.
		"01FWHE4YDGFK1SHH6W1G60EECF": {0x01, 0x7F, 0x22, 0xE2, 0x79, 0xB0, 0x7C, 0xC3, 0x98, 0xC4, 0xDC, 0x0C, 0x0C, 0x07, 0x39, 0x8F},
	} {
		if got := encode(u); got != want {
			t.Errorf("%x is written %s, want %s", u, got, want)
		}
	}
}

func bitsOf(t *testing.T, s string) [16]byte {
	t.Helper()
	var hi, lo uint64
	for i := range len(s) {
		v := strings.IndexByte(alphabet, s[i])
		if v < 0 {
			t.Fatalf("%q is no Crockford base32", s)
		}
		hi, lo = hi<<5|lo>>59, lo<<5|uint64(v)
	}
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], hi)
	binary.BigEndian.PutUint64(u[8:], lo)
	return u
}

func TestIDsCompareAsTheirTextsDo(t *testing.T) {
	m := NewMinter()
	ids := []GrantID{{}, m.NewGrantID(at(1)), m.NewGrantID(at(1)), m.NewGrantID(at(2)), m.NewGrantID(at(1 << 40))}
	for _, a := range ids {
		for _, b := range ids {
			if got, want := a.Compare(b), strings.Compare(a.String(), b.String()); got != want {
				t.Errorf("%q against %q: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestIDsOfOneMinterAreInTheOrderOfTheirMaking(t *testing.T) {
	m := NewMinter()
	last := ""
	times := []time.Time{at(100), at(100), at(99), {}, at(-5), time.UnixMilli(math.MinInt64 / 2), at(100), at(101), at(100)}
	for round := range 3 {
		for _, now := range times {
			for range 3000 { // past the counter's 4,096 values within one millisecond
				id := m.NewActionID(now).String()
				if id <= last {
					t.Fatalf("round %d: %s after %s", round, id, last)
				}
				last = id
			}
		}
	}
}

func TestIDsAreUniqueUnderConcurrentUse(t *testing.T) {
	m := NewMinter()
	const each = 2000
	made := make([][each]string, 4)
	var wg sync.WaitGroup
	for g := range made {
		wg.Go(func() {
			for i := range each {
				made[g][i] = m.NewActionID(at(100)).String()
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for g := range made {
		for i, id := range made[g] {
			if seen[id] || i > 0 && id <= made[g][i-1] {
				t.Fatalf("%s twice, or out of order", id)
			}
			seen[id] = true
		}
	}
}

func TestIDsInDocuments(t *testing.T) {
	type document struct {
		Grant  GrantID  `json:"grant"`
		Denial DenialID `json:"denial"`
	}
	in := document{Grant: NewMinter().NewGrantID(at(1))}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"grant":"`+in.Grant.String()+`","denial":""}` {
		t.Fatalf("%s, %v", b, err)
	}
	var out document
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%+v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"denial":"`+in.Grant.String()+`"}`), &out); err == nil {
		t.Error("a grant's id was read as a denial's")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(NewMinter().NewRecordID(at(1)).String())
	f.Add("rec_01FWHE4YDGFK1SHH6W1G60EECF")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID[recordKind](s)
		if err != nil {
			return
		}
		if u := bitsOf(t, s[4:]); id.String() != s || "rec_"+encode(u) != s {
			t.Fatalf("%q has a second spelling %q", s, "rec_"+encode(u))
		}
	})
}
