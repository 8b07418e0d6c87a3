package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// maxDenialWait is how long FromDenial waits for the segment that holds the
// denial (contracts §4).
const maxDenialWait = 3 * time.Second

// Suggestion is what to ask for so that a denied operation would pass.
type Suggestion struct {
	Ask
	Denial    grant.DenialID
	Code      grant.Reason // why it was denied
	App       string
	Operation string
	Missing   []string // required parameters that the record does not tell
}

// FromDenial returns what to ask for after a denial that was recorded for the
// caller: the entitlement with the fewest operations that covers it, then the
// smallest name, with the parameters that the record tells. It waits up to 3 s
// for the record to arrive; another's denial is answered like none.
func (s *Service) FromDenial(ctx context.Context, c Caller, id grant.DenialID) (Suggestion, error) {
	limit := time.NewTimer(s.denialWait)
	defer limit.Stop()
	for {
		rung := s.ingested.wait()
		out, err := s.fromDenial(ctx, c, id)
		if CodeOf(err) != CodeNotFound {
			return out, err
		}
		select {
		case <-rung:
		case <-limit.C:
			return Suggestion{}, err
		case <-ctx.Done():
			return Suggestion{}, ctx.Err()
		}
	}
}

func (s *Service) fromDenial(ctx context.Context, c Caller, id grant.DenialID) (Suggestion, error) {
	var out Suggestion
	err := s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		d, err := denialOf(ctx, tx, c.Principal, id)
		if err != nil {
			return err
		}
		out, err = suggest(set, c.Principal, d)
		out.Denial = id
		return err
	})
	if err != nil {
		return Suggestion{}, err
	}
	return out, nil
}

// denialOf reads a recorded denial of p.
func denialOf(ctx context.Context, tx Tx, p identity.Principal, id grant.DenialID) (audit.Denied, error) {
	places, err := tx.Spools().Find(ctx, id.String())
	if err != nil {
		return audit.Denied{}, fmt.Errorf("find %s: %w", id, err)
	}
	names, err := namesOf(ctx, tx, p)
	if err != nil {
		return audit.Denied{}, err
	}
	records := reader{tx: tx}
	for _, place := range places {
		named, err := records.named(ctx, place, id.String())
		if err != nil {
			return audit.Denied{}, err
		}
		for _, r := range named {
			var d audit.Denied
			if r.Record.Type != audit.TypeActionDenied || r.Record.Into(&d) != nil {
				continue
			}
			if d.Denial == id.String() && slices.Contains(names, d.Principal) {
				return d, nil
			}
		}
	}
	return audit.Denied{}, notFound(id.String())
}

// namesOf returns how p stands in the record: by itself where it has no
// pseudonym yet, else by that.
func namesOf(ctx context.Context, tx Tx, p identity.Principal) ([]string, error) {
	out := []string{p.String()}
	raw, err := tx.Persons().Key(ctx, p, nil)
	if errors.Is(err, ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("person key: %w", err)
	}
	key, err := audit.ParsePersonKey(raw)
	if err != nil {
		return nil, err
	}
	return append(out, audit.Pseudonym(key, p.String())), nil
}

// suggest names the smallest entitlement that covers the denied operation and
// fills its parameters in.
func suggest(set *policy.Set, p identity.Principal, d audit.Denied) (Suggestion, error) {
	out := Suggestion{Code: grant.Reason(d.Code), App: d.App, Operation: d.Operation}
	for _, e := range set.Ask(d.App) {
		if !slices.Contains(e.Operations, d.Operation) || !slices.Contains(e.Kinds, p.Kind().String()) {
			continue
		}
		out.Ask = Ask{Entitlement: e.Entitlement, Params: map[string]string{}}
		for _, b := range e.Bindings {
			if v := d.Attributes[b.Attribute].Value; b.Operation == d.Operation && v != "" {
				out.Params[b.Param] = v
			}
		}
		for _, name := range e.Required {
			if _, ok := out.Params[name]; !ok {
				out.Missing = append(out.Missing, name)
			}
		}
		return out, nil
	}
	return out, fault(CodeNotFound, "", "no entitlement that you may ask for covers %s of %s", clip(d.Operation), clip(d.App))
}
