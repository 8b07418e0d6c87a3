package access

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// PolicyLog is how the file of an entitlement came to be what it is, from the policies
// that were in force. The repository is not asked: what it forgot since is here.
type PolicyLog struct {
	Entitlement string
	Path        string
	Versions    []PolicyVersion // oldest first
	Lines       []PolicyLine    // of the newest version that has the file
}

// PolicyVersion is one text of the file, or its absence, from the entry into force that
// brought it to the next one that brought another. A text that comes back is a version of
// its own.
type PolicyVersion struct {
	Commit   string
	Digest   string   // of the policy
	Signers  []string // persons; empty: unsigned (development)
	At       time.Time
	How      PolicyHow
	There    bool // otherwise the file was removed
	Added    int  // lines
	Removed  int
	Requests int               // made under a policy with this text
	Newest   []grant.RequestID // of them, at most five
}

// PolicyLine is one line of the file, and the version that it is from.
type PolicyLine struct {
	Text    string
	Version int // index into Versions
}

// newestUnder is how many requests of a version are named.
const newestUnder = 5

// LogPolicy says how the file of an entitlement came to be what it is. It is for those
// who may plan.
func (s *Service) LogPolicy(ctx context.Context, c Caller, entitlement string) (PolicyLog, error) {
	var out PolicyLog
	err := s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := s.mayPlan(ctx, tx, set, c); err != nil {
			return err
		}
		out = PolicyLog{Entitlement: entitlement, Path: pathOf(set, entitlement)}
		return out.read(ctx, tx)
	})
	if err != nil {
		return PolicyLog{}, err
	}
	return out, nil
}

// pathOf returns where an entitlement or a bundle stands: where policy in force has it, else where
// policy wants one of that name.
func pathOf(set *policy.Set, entitlement string) string {
	if e, ok := set.Terms(entitlement); ok {
		return e.File
	}
	return "entitlements/" + entitlement + ".yaml"
}

func (l *PolicyLog) read(ctx context.Context, tx Tx) error {
	files, err := tx.Policies().Versions(ctx, l.Path)
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	var last []byte
	for i, f := range files {
		if !slices.ContainsFunc(l.Versions, func(v PolicyVersion) bool { return v.There }) && f.Body == nil {
			continue // it was not there yet
		}
		if len(l.Versions) == 0 || (f.Body == nil) != (last == nil) || !bytes.Equal(f.Body, last) {
			l.add(f)
			last = f.Body
		}
		v := &l.Versions[len(l.Versions)-1]
		from, before := termOf(files, i)
		n, newest, err := tx.Requests().UnderPolicy(ctx, l.Entitlement, f.Digest, from, before, newestUnder)
		if err != nil {
			return err
		}
		v.Requests += n
		v.Newest = append(newest, v.Newest...)
		v.Newest = v.Newest[:min(newestUnder, len(v.Newest))]
	}
	if len(l.Versions) == 0 {
		no := notFound(l.Entitlement)
		no.Next = "mayfly entitlements"
		return no
	}
	return nil
}

// termOf says which requests under the policy of files[i] are of that entry of it: those
// since it, or since ever if it is the first of that policy, and before the next one.
func termOf(files []FileVersion, i int) (from, before time.Time) {
	same := func(f FileVersion) bool { return f.Digest == files[i].Digest }
	if slices.ContainsFunc(files[:i], same) {
		from = files[i].At
	}
	if next := slices.IndexFunc(files[i+1:], same); next >= 0 {
		before = files[i+1+next].At
	}
	return from, before
}

// add appends a version, and takes over the lines that it leaves as they were.
func (l *PolicyLog) add(f FileVersion) {
	v := PolicyVersion{Commit: f.Commit, Digest: f.Digest, Signers: f.Signers, At: f.At, How: f.How, There: f.Body != nil}
	if v.There {
		before := len(l.Lines)
		kept := 0
		l.Lines, kept = blame(l.Lines, strings.Split(strings.TrimSuffix(string(f.Body), "\n"), "\n"), len(l.Versions))
		v.Added, v.Removed = len(l.Lines)-kept, before-kept
	} else {
		v.Removed = len(l.Lines)
		l.Lines = nil
	}
	l.Versions = append(l.Versions, v)
}

// maxBlame bounds the table by which two versions are compared: of longer changes every
// line between the first and the last that differ is taken for new.
const maxBlame = 4 << 20

// blame gives each line of a text the version that it is from: that of the line which
// stood there before, by a longest common subsequence, or this one. kept is how many
// lines stayed.
func blame(before []PolicyLine, lines []string, version int) (out []PolicyLine, kept int) {
	head := 0
	for head < len(before) && head < len(lines) && before[head].Text == lines[head] {
		head++
	}
	tail := 0
	for tail < len(before)-head && tail < len(lines)-head && before[len(before)-1-tail].Text == lines[len(lines)-1-tail] {
		tail++
	}
	out, kept = slices.Clone(before[:head]), head+tail
	old, fresh := before[head:len(before)-tail], lines[head:len(lines)-tail]
	width := len(fresh) + 1
	if (len(old)+1)*width > maxBlame {
		old, width = nil, 1
	}
	longest := make([]int, (len(old)+1)*width) // common subsequence of old from i and fresh from j on
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(fresh) - 1; j >= 0; j-- {
			longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
			if old[i].Text == fresh[j] {
				longest[i*width+j] = longest[(i+1)*width+j+1] + 1
			}
		}
	}
	for i, j := 0, 0; j < len(fresh); {
		switch {
		case i < len(old) && old[i].Text == fresh[j]:
			out, kept, i, j = append(out, old[i]), kept+1, i+1, j+1
		case i < len(old) && longest[(i+1)*width+j] >= longest[i*width+j+1]:
			i++
		default:
			out, j = append(out, PolicyLine{Text: fresh[j], Version: version}), j+1
		}
	}
	return append(out, before[len(before)-tail:]...), kept
}
