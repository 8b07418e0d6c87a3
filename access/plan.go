package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// Plan is what a policy would do if it entered into force now. Nothing is done.
type Plan struct {
	policy.Outlook
	Before, BeforeDigest string // commit and digest in force; empty: none
	Digest               string
	Waits                bool   // it would have to settle (contracts §6)
	Why                  string // so
	Dev                  bool   // not at this mayflyd, where none waits
	Ends                 []grant.Grant
	Pending              []Flip            // requests under way that it decides otherwise, newest first
	Shown                map[string]string // principals by name
	Warnings             []policy.Warning  // what is doubtful about the policy that is asked about
}

// Flip is a request that another policy decides otherwise than it was decided.
type Flip struct {
	Request     grant.RequestID
	At          time.Time
	Requester   identity.Principal
	Shown       string // the requester's name
	Entitlement string
	Was, Now    string // granted, approval or denied
	Text        string // why, by the other policy
	Grant       grant.GrantID
	Use         Use // of the grant, as far as the other policy would not have given it
}

// planned is the body of the leaf administration about a policy that was asked about.
type planned struct {
	Operation string `json:"operation"`
	Under     string `json:"under,omitempty"` // the grant; empty: as a member of the security group
	By        string `json:"by"`              // pseudonym
	Digest    string `json:"digest"`          // of the policy that was asked about
	Since     string `json:"since,omitempty"` // of a replay
}

// MayPlan lets the security group through, and others under a grant of policy.plan: a
// plan and a replay tell who holds and who asked what.
func (s *Service) MayPlan(ctx context.Context, c Caller) error {
	return s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		_, err = s.mayPlan(ctx, tx, set, c)
		return err
	})
}

func (s *Service) mayPlan(ctx context.Context, tx Tx, set *policy.Set, c Caller) (under string, err error) {
	if err := known(set, c.Principal); err != nil {
		return "", err
	}
	member, refusal := inSecurity(set, c, tx.Now())
	if member {
		return "", nil
	}
	g, err := s.acting(ctx, tx, set, c, own(policy.OwnPolicyPlan, nil))
	if CodeOf(err) == CodeNoGrant && refusal != nil {
		return "", refusal
	}
	return g.ID.String(), err
}

// asked loads the policy that somebody asks about, and writes down that they did.
func (s *Service) asked(ctx context.Context, c Caller, files map[string][]byte, since string) (*policy.Set, error) {
	var now time.Time
	var inForce *policy.Set
	err := s.update(ctx, func(w *work) (err error) {
		now = w.now
		if inForce, err = w.inForce(ctx, w.tx); err != nil {
			return err
		}
		body := planned{Operation: policy.OwnPolicyPlan, Digest: policy.Digest(files), Since: since}
		if body.Under, err = w.mayPlan(ctx, w.tx, inForce, c); err != nil {
			return err
		}
		return w.administer(ctx, c, body.Digest, &body.By, &body)
	})
	if err != nil {
		return nil, err
	}
	set, err := s.load(files, "", false)
	if err == nil {
		err = set.CheckAt(now, inForce)
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fault(CodeInvalid, "mayfly policy check DIR", "these files are no policy: %s", clipLong(first))
	}
	return set, nil
}

// PlanPolicy says what a policy would do if it entered into force now: it changes
// nothing but the record, which says that it was asked.
func (s *Service) PlanPolicy(ctx context.Context, c Caller, files map[string][]byte) (Plan, error) {
	set, err := s.asked(ctx, c, files, "")
	if err != nil {
		return Plan{}, err
	}
	out := Plan{Dev: s.unsettled, Digest: set.Digest(), Shown: map[string]string{}}
	err = s.store.View(ctx, func(tx Tx) error {
		before, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		out.Before, out.BeforeDigest = before.Commit(), before.Digest()
		out.Outlook, out.Warnings = policy.Look(before, set), set.Warnings(tx.Now())
		widens, err := s.widens(ctx, tx, before, set)
		if err != nil {
			return err
		}
		out.Waits, out.Why = waits(out.Comparison, widens)
		if out.Ends, err = narrowedBy(ctx, tx, before, set); err != nil {
			return err
		}
		for _, g := range out.Ends {
			if err := out.name(ctx, tx, g.Principal); err != nil {
				return err
			}
		}
		if err := out.pending(ctx, tx, set); err != nil {
			return err
		}
		return out.known(ctx, tx)
	})
	if err != nil {
		return Plan{}, err
	}
	return out, nil
}

// waits says whether a commit has to settle, and why.
func waits(c policy.Comparison, widens bool) (bool, string) {
	switch {
	case c.Widens():
		return true, "somebody could gain something on apps that are there"
	case widens:
		return true, "an app comes back that was there before, and so may be another one"
	case len(c.Changes) == 0:
		return false, "it decides as the policy in force does"
	default:
		return false, "nobody gains anything on apps that are there"
	}
}

func (p *Plan) name(ctx context.Context, tx Tx, who identity.Principal) (err error) {
	if _, ok := p.Shown[who.String()]; !ok {
		p.Shown[who.String()], err = shown(ctx, tx, who)
	}
	return err
}

// planPage is how many rows are read at once.
const planPage = 500

// pending lists the requests under way that set decides otherwise than the steps say
// that they wait for.
func (p *Plan) pending(ctx context.Context, tx Tx, set *policy.Set) error {
	f := RequestFilter{State: Pending, Limit: planPage}
	for {
		page, err := tx.Requests().List(ctx, f)
		if err != nil {
			return fmt.Errorf("requests: %w", err)
		}
		for _, r := range page {
			again, err := decideAgain(set, r)
			if err != nil {
				return err
			}
			if again.flips() {
				if err := p.name(ctx, tx, r.Requester); err != nil {
					return err
				}
				p.Pending = append(p.Pending, again.flip(r, p.Shown[r.Requester.String()]))
			}
		}
		if len(page) < f.Limit {
			return nil
		}
		f.Before = page[len(page)-1].ID
	}
}

// maxKnown bounds how many members of a group are named.
const maxKnown = 20

// known names the members of groups that gain or lose: those who are logged in, since
// nobody else's groups are known.
func (p *Plan) known(ctx context.Context, tx Tx) error {
	members := map[string][]identity.Principal{}
	f := SessionFilter{LiveAt: tx.Now(), Limit: planPage}
	for {
		page, err := tx.Sessions().List(ctx, f)
		if err != nil {
			return fmt.Errorf("sessions: %w", err)
		}
		for _, one := range page {
			for _, g := range one.Groups {
				if !slices.Contains(members[g.String()], one.Principal) {
					members[g.String()] = append(members[g.String()], one.Principal)
				}
			}
		}
		if len(page) < f.Limit {
			break
		}
		f.Before = page[len(page)-1].ID
	}
	for i := range p.Reach {
		r := &p.Reach[i]
		for _, who := range members[r.Who] {
			if err := p.name(ctx, tx, who); err != nil {
				return err
			}
			r.Known = append(r.Known, p.Shown[who.String()])
		}
		slices.Sort(r.Known)
		if n := len(r.Known); n > maxKnown {
			r.Known = append(r.Known[:maxKnown], fmt.Sprintf("and %d more", n-maxKnown))
		}
	}
	return nil
}
