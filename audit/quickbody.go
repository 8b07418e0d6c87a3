package audit

import (
	"strconv"
	"unicode/utf8"
)

// quickBody reads a body into v, a pointer to a struct of it, on the short way: it does
// what Record.Into does on the long one, or returns false. v may then hold a part.
func quickBody(body []byte, v any) bool {
	s := quick{rest: string(body)} // all texts of the body are parts of this one
	read := false
	switch v := v.(type) {
	case *Intent:
		read = s.members(func(key string) bool {
			if key == "grant" {
				return s.string(&v.Grant)
			}
			return s.try(key, &v.Try)
		})
	case *Denied:
		read = s.members(func(key string) bool {
			switch key {
			case "code":
				return s.string(&v.Code)
			case "denial":
				return s.string(&v.Denial)
			default:
				return s.try(key, &v.Try)
			}
		})
	case *Outcome:
		read = s.members(func(key string) bool { return s.outcome(key, v) })
	case *Rebound:
		read = s.members(func(key string) bool { return s.rebound(key, v) })
	}
	return read && s.rest == "" && utf8.Valid(body)
}

// try reads the value of one key of a Try.
func (s *quick) try(key string, v *Try) bool {
	switch key {
	case "act":
		v.Act = []string{}
		return s.elements(func() bool {
			one, ok := s.text()
			v.Act = append(v.Act, one)
			return ok
		})
	case "action":
		return s.string(&v.Action)
	case "app":
		return s.string(&v.App)
	case "ask":
		return s.members(func(key string) bool { return s.ask(key, &v.Ask) })
	case "attributes":
		return s.attributes(&v.Attributes)
	case "class":
		return s.string(&v.Class)
	case "deadline":
		return s.time(&v.Deadline)
	case "epoch":
		return s.number(&v.Epoch)
	case "freshness_ms":
		return s.integer(&v.FreshnessMS)
	case "operation":
		return s.string(&v.Operation)
	case "principal":
		return s.string(&v.Principal)
	case "resolved":
		return s.attributes(&v.Resolved)
	case "resource":
		return s.string(&v.Resource)
	case "revision":
		return s.number(&v.Revision)
	case "token":
		return s.string(&v.Token)
	case "trace":
		return s.string(&v.Trace)
	default:
		return false
	}
}

func (s *quick) ask(key string, v *Ask) bool {
	switch key {
	case "authority":
		return s.string(&v.Authority)
	case "body":
		return s.hash(&v.Body)
	case "certificate":
		return s.hash(&v.Certificate)
	case "method":
		return s.string(&v.Method)
	case "path":
		return s.hash(&v.Path)
	case "session":
		return s.string(&v.Session)
	default:
		return false
	}
}

func (s *quick) outcome(key string, v *Outcome) bool {
	switch key {
	case "action":
		return s.string(&v.Action)
	case "bytes":
		return s.integer(&v.Bytes)
	case "ended_by":
		return s.string(&v.EndedBy)
	case "reason":
		return s.string(&v.Reason)
	case "result":
		return s.string((*string)(&v.Result))
	case "status":
		var status int64
		ok := s.integer(&status)
		v.Status = int(status)
		return ok && int64(v.Status) == status
	case "upstream_id":
		return s.string(&v.UpstreamID)
	default:
		return false
	}
}

func (s *quick) rebound(key string, v *Rebound) bool {
	switch key {
	case "action":
		return s.string(&v.Action)
	case "deadline":
		return s.time(&v.Deadline)
	case "epoch":
		return s.number(&v.Epoch)
	case "from":
		return s.string(&v.From)
	case "grant":
		return s.string(&v.Grant)
	case "revision":
		return s.number(&v.Revision)
	default:
		return false
	}
}

func (s *quick) attributes(v *map[string]Attr) bool {
	if *v == nil {
		*v = map[string]Attr{}
	}
	return s.members(func(name string) bool {
		var a Attr
		ok := s.members(func(key string) bool {
			switch key {
			case "hmac":
				return s.string(&a.HMAC)
			case "value":
				return s.string(&a.Value)
			default:
				return false
			}
		})
		(*v)[name] = a
		return ok
	})
}

func (s *quick) hash(v *Hash) bool {
	text, ok := s.text()
	if !ok || len(text) != 2*len(v) {
		return false
	}
	for i := range v {
		high, low := nibble(text[2*i]), nibble(text[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		v[i] = high<<4 | low
	}
	return true
}

// nibble returns what a lower-case hexadecimal digit stands for, more than 15 if c is none.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

func (s *quick) time(v *Time) bool {
	text, ok := s.text()
	if !ok {
		return false
	}
	at, err := ParseStamp(text)
	v.Time = at
	return err == nil
}

func (s *quick) number(v *uint64) (ok bool) {
	text, ok := s.text()
	if ok {
		*v, ok = quickNumber(text)
	}
	return ok
}

// integer takes none below zero.
func (s *quick) integer(v *int64) bool {
	var n uint64
	ok := s.number(&n)
	*v = int64(n)
	return ok && *v >= 0
}

// quickNumber reads a number in the only spelling that is written.
func quickNumber(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && (text[0] != '0' || text == "0")
}
