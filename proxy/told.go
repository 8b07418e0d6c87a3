package proxy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// maxTold is the longest value of an identity header, in bytes.
const maxTold = 4096

// told is what the app gets otherwise than the caller sent it.
type told struct {
	set    []*corev3.HeaderValueOption
	remove []string
}

// tell says what the app is told: the cookies without ours, and at the people door,
// in the identity headers, the facts about the person who calls. A fact that is
// absent leaves no header that the caller wrote itself. At the services door Envoy
// takes callers' own identity headers out before it asks, and takes none from us.
func tell(v *ruling) told {
	var out told
	if values := v.r.HTTP.Header["Cookie"]; len(values) > 0 {
		// At the people door two of ours were refused before; at the other they prove
		// nothing, and all are cut.
		if c, twice := readCookies(values); twice != nil || c.cut && c.rest == "" {
			out.remove = append(out.remove, "cookie")
		} else if c.cut {
			out.set = append(out.set, set("cookie", c.rest))
		}
	}
	if v.withheld { // a token of ours, or a proof, would be a secret in the app's hands
		out.remove = append(out.remove, "authorization")
	}
	if v.r.Door == DoorClients {
		out.remove = append(out.remove, "dpop")
	}
	if v.assertion != "" {
		out.set = append(out.set, set(AssertionHeader, v.assertion))
	}
	if v.r.Door != DoorPeople {
		return out
	}
	for _, h := range v.app.Identity {
		// An app that trusts them would take one for a login: observing opens none.
		if value := v.caller.fact(h.Fact); !v.action.Observed && value != "" && len(value) <= maxTold {
			out.set = append(out.set, set(h.Header, value))
		} else {
			out.remove = append(out.remove, h.Header)
		}
	}
	return out
}

// fact is one fact about the person who calls, as a header holds it: what is not
// visible ASCII or a space is percent-encoded.
func (c caller) fact(name string) string {
	s := c.session
	if s == nil {
		return ""
	}
	switch name {
	case factPrincipal:
		return headerText(s.Principal.String())
	case factPerson:
		return headerText(s.Person.String())
	case factName:
		return headerText(s.Name)
	case factEmail:
		return headerText(s.Email)
	case factGroups:
		return groupText(s)
	}
	return ""
}

// headerText encodes spaces at the ends too: on the wire they would be lost.
func headerText(s string) string {
	text := percentEncode(s)
	front := len(text) - len(strings.TrimLeft(text, " "))
	inner := strings.TrimRight(text[front:], " ")
	back := len(text) - front - len(inner)
	return strings.Repeat("%20", front) + inner + strings.Repeat("%20", back)
}

// groupText lists the groups by source and name. One with a comma could be read as
// two, and what does not fit is left out whole: the app is told of fewer, never of
// others.
func groupText(s *Session) string {
	var b strings.Builder
	for _, g := range s.Groups {
		text := percentEncode(strings.TrimPrefix(g.String(), "group:"))
		if strings.Contains(text, ",") || b.Len()+1+len(text) > maxTold {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text)
	}
	return b.String()
}
