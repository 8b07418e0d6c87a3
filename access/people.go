package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// maxAccounts bounds how many accounts of one human are followed; more than
// that is an error, and nobody approves.
const maxAccounts = 256

// accountsOf returns every account that may be the same human as p, p first:
// those that policy lists for one person and those that share a verified e-mail,
// followed until no new one appears (P6). A workload stands for itself.
func accountsOf(ctx context.Context, tx Tx, set *policy.Set, p identity.Principal) ([]policy.Account, error) {
	seen := map[identity.Principal]bool{p: true}
	queue := []identity.Principal{p}
	var out []policy.Account
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		email, err := emailOf(ctx, tx, next)
		if err != nil {
			return nil, err
		}
		out = append(out, policy.Account{Principal: next, Email: email})
		linked := slices.Clone(set.AccountsOf(set.PersonOf(next)))
		if email != "" {
			shared, err := tx.Persons().WithEmail(ctx, email)
			if err != nil {
				return nil, fmt.Errorf("accounts of an e-mail: %w", err)
			}
			linked = append(linked, shared...)
		}
		for _, l := range linked {
			if !seen[l] {
				seen[l] = true
				queue = append(queue, l)
			}
		}
		if len(seen) > maxAccounts {
			return nil, fmt.Errorf("more than %d accounts of one person", maxAccounts)
		}
	}
	return out, nil
}

func emailOf(ctx context.Context, tx Tx, p identity.Principal) (string, error) {
	_, email, err := tx.Persons().Profile(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	return email, nil
}

// shown returns how p is shown to people: name and verified e-mail, or the
// principal.
func shown(ctx context.Context, tx Tx, p identity.Principal) (string, error) {
	name, email, err := tx.Persons().Profile(ctx, p)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", fmt.Errorf("profile: %w", err)
	}
	switch {
	case name != "" && email != "":
		return name + " <" + email + ">", nil
	case name != "" || email != "":
		return name + email, nil
	default:
		return p.String(), nil
	}
}

// meets reports whether any account of one list is the same human as any of the other.
func meets(set *policy.Set, a, b []policy.Account) bool {
	for _, x := range a {
		for _, y := range b {
			if set.SamePerson(x, y) {
				return true
			}
		}
	}
	return false
}

// ownAccess reports whether approver is, by any account, who asked or who would
// hold the grant: by today's policy and profiles, and by those of the day of the
// request, so that neither a renamed e-mail nor a policy commit opens a way.
func ownAccess(ctx context.Context, tx Tx, set *policy.Set, r Request, approver []policy.Account) (bool, error) {
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return false, err
	}
	for _, a := range approver {
		if slices.Contains(basis.Accounts, a.Principal.String()) || set.PersonOf(a.Principal) == r.RequesterPerson ||
			a.Email != "" && slices.Contains(basis.Emails, a.Email) {
			return true, nil
		}
	}
	// A second look: the accounts of one human lead to each other, so whoever is found here
	// was found above.
	for _, p := range []identity.Principal{r.Requester, r.Beneficiary} {
		own, err := accountsOf(ctx, tx, set, p)
		if err != nil {
			return false, err
		}
		if meets(set, own, approver) {
			return true, nil
		}
	}
	return false, nil
}

// inSecurity reports whether c is of the group that policy names security, with
// groups fresh enough to decide; login_again if only their age forbids it.
func inSecurity(set *policy.Set, c Caller, now time.Time) (bool, error) {
	group := set.Security()
	if group.IsZero() || !c.isPerson() || !slices.Contains(c.Groups, group) {
		return false, nil
	}
	if !c.fresh(now) {
		return false, loginAgain()
	}
	return true, nil
}

func texts(accounts []policy.Account) []string {
	out := make([]string, len(accounts))
	for i, a := range accounts {
		out[i] = a.Principal.String()
	}
	slices.SortFunc(out, strings.Compare)
	return slices.Compact(out)
}

// emails lists the verified addresses of accounts.
func emails(accounts []policy.Account) []string {
	var out []string
	for _, a := range accounts {
		if a.Email != "" {
			out = append(out, a.Email)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
