package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Inputs is the stored form of an Input: JSON with strings only, and no words
// that somebody wrote about themselves (of the justification only whether it was
// given). With the files of Policy and the same Engine it decides the same (P8).
type Inputs struct {
	Policy      string            `json:"policy"` // digest
	Commit      string            `json:"commit"`
	Engine      string            `json:"engine"`
	Catalogue   string            `json:"catalogue"`   // see Set.CatalogueOf
	Entitlement string            `json:"entitlement"` // or bundle
	Params      map[string]string `json:"params"`
	Duration    string            `json:"duration"` // as Go writes it; 0s is the default
	Justified   string            `json:"justified"`
	Beneficiary string            `json:"beneficiary"`
	Principal   string            `json:"principal"`
	Person      string            `json:"person"`
	Groups      []string          `json:"groups"` // sorted
	GroupsAt    string            `json:"groups_at"`
	ACR         string            `json:"acr"`
	Now         string            `json:"now"`
	SignedAt    string            `json:"signed_at,omitempty"` // see Requester; not in what was stored before there was one
}

// What Justified says.
const (
	justifiedYes  = "yes"
	justifiedNo   = "no"
	justifiedLong = "too long"
)

const timeForm = "2006-01-02T15:04:05.000000Z"

// Canonical returns i as canonical JSON (RFC 8785: sorted keys, no spaces).
func (i Inputs) Canonical() []byte {
	params := map[string]string{}
	for name, text := range i.Params {
		params[name] = jsonString(text)
	}
	members := map[string]string{"groups": jsonList(i.Groups), "params": jsonObject(params)}
	for name, text := range map[string]string{
		"acr": i.ACR, "beneficiary": i.Beneficiary, "catalogue": i.Catalogue, "commit": i.Commit, "duration": i.Duration,
		"engine": i.Engine, "entitlement": i.Entitlement, "groups_at": i.GroupsAt, "justified": i.Justified, "now": i.Now,
		"person": i.Person, "policy": i.Policy, "principal": i.Principal,
	} {
		members[name] = jsonString(text)
	}
	if i.SignedAt != "" {
		members["signed_at"] = jsonString(i.SignedAt)
	}
	return []byte(jsonObject(members))
}

func orNone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// canonical returns in as it is stored, so that a replay decides from the same.
func (in Input) canonical(s *Set) Input {
	in.Params = maps.Clone(in.Params)
	in.Now = in.Now.UTC().Truncate(time.Microsecond)
	if !in.Requester.GroupsAt.IsZero() {
		in.Requester.GroupsAt = in.Requester.GroupsAt.UTC().Truncate(time.Microsecond)
	}
	if !in.Requester.SignedAt.IsZero() {
		in.Requester.SignedAt = in.Requester.SignedAt.UTC().Truncate(time.Microsecond)
	}
	if in.Requester.Person.IsZero() {
		in.Requester.Person = s.PersonOf(in.Requester.Principal)
	}
	groups := slices.Clone(in.Requester.Groups)
	slices.SortFunc(groups, func(a, b identity.Group) int { return cmp.Compare(a.String(), b.String()) })
	in.Requester.Groups = slices.Compact(groups)
	return in
}

func (s *Set) snapshot(in Input) Inputs {
	out := Inputs{
		Policy: s.digest, Commit: s.commit, Engine: EngineVersion(), Catalogue: s.CatalogueOf(in.Entitlement),
		Entitlement: in.Entitlement, Params: orNone(in.Params), Duration: in.Duration.String(), Justified: justifiedNo,
		Beneficiary: in.Beneficiary.String(), Principal: in.Requester.Principal.String(), Person: in.Requester.Person.String(),
		Groups: []string{}, GroupsAt: stamp(in.Requester.GroupsAt), ACR: in.Requester.ACR, Now: stamp(in.Now),
		SignedAt: stamp(in.Requester.SignedAt),
	}
	switch text := strings.TrimSpace(in.Justification); {
	case len(text) > MaxJustification:
		out.Justified = justifiedLong
	case isWords(text):
		out.Justified = justifiedYes
	}
	for _, g := range in.Requester.Groups {
		out.Groups = append(out.Groups, g.String())
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeForm)
}

// Replay decides again from what was stored. It fails if s is not the policy, or
// this binary not the engine, that decided then: such a decision can be neither
// confirmed nor denied here.
func (s *Set) Replay(i Inputs) (Decision, error) {
	switch {
	case i.Engine != EngineVersion():
		return Decision{}, fmt.Errorf("engine differs: decided by %q, this is %q", i.Engine, EngineVersion())
	case i.Policy != s.digest:
		return Decision{}, fmt.Errorf("policy differs: decided under %s, this is %s", i.Policy, s.digest)
	}
	in, err := i.Input()
	if err != nil {
		return Decision{}, fmt.Errorf("stored inputs: %w", err)
	}
	d := s.Decide(in)
	if d.Inputs.Catalogue != i.Catalogue {
		return Decision{}, fmt.Errorf("catalogue differs: decided with %s, this is %s", i.Catalogue, d.Inputs.Catalogue)
	}
	d.Inputs.Commit = i.Commit
	return d, nil
}

// Input returns the question that was stored. The words of a justification are not in
// it, only that there were any.
func (i Inputs) Input() (Input, error) {
	in := Input{Entitlement: i.Entitlement, Params: i.Params, Requester: Requester{ACR: i.ACR}}
	var err error
	if in.Duration, err = time.ParseDuration(i.Duration); err != nil {
		return in, fmt.Errorf("duration: %w", err)
	}
	switch i.Justified {
	case justifiedYes:
		in.Justification = "given"
	case justifiedLong:
		in.Justification = strings.Repeat("x", MaxJustification+1)
	}
	for _, v := range []struct {
		into interface{ UnmarshalText([]byte) error }
		text string
	}{{&in.Beneficiary, i.Beneficiary}, {&in.Requester.Principal, i.Principal}} {
		if err := v.into.UnmarshalText([]byte(v.text)); err != nil {
			return in, err
		}
	}
	if i.Person != "" {
		if in.Requester.Person, err = identity.ParsePerson(i.Person); err != nil {
			return in, err
		}
	}
	for _, g := range i.Groups {
		group, err := identity.ParseGroup(g)
		if err != nil {
			return in, err
		}
		in.Requester.Groups = append(in.Requester.Groups, group)
	}
	if in.Now, err = parseStamp(i.Now); err != nil {
		return in, err
	}
	if in.Requester.GroupsAt, err = parseStamp(i.GroupsAt); err != nil {
		return in, err
	}
	in.Requester.SignedAt, err = parseStamp(i.SignedAt)
	return in, err
}

func parseStamp(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(timeForm, s)
	if err != nil {
		return t, fmt.Errorf("time %q: %w", s, err)
	}
	return t, nil
}
