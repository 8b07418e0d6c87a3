package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// VerifyOptions say against what an export is checked.
type VerifyOptions struct {
	// Key is the verifier key, from somewhere else than the export. Empty: the
	// export's own, which proves only that it is whole (Report.KeyGiven).
	Key string
	// Kept are signed checkpoints kept from before, in any order. What was cut
	// off and signed anew is found only against one of them.
	Kept [][]byte
	// Nodes are the signed checkpoints that gateways keep, each reported on by itself.
	Nodes []NodeNote
}

// NodeNote is the signed checkpoint that a gateway keeps.
type NodeNote struct {
	Node string
	Note []byte
}

// Verify checks an export and trusts nothing in it: it computes the tree from
// the leaves, every segment from its frames, and pairs grants, intents,
// reservations and outcomes. The error is only for a folder or key that cannot
// be read; everything else is in the Report.
func Verify(dir string, o VerifyOptions) (Report, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return Report{}, fmt.Errorf("verify: %s is no folder of an export", dir)
	}
	v := &verification{dir: dir, anchors: map[string][]anchored{}, actions: newActionCheck()}
	verifier, err := v.key(o.Key)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	v.checkpoint(verifier)
	v.kept(verifier, o.Kept)
	v.nodes(verifier, o.Nodes)
	v.leaves()
	v.segments()
	v.actions.finish(v)
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int { return a.Reason.rank() - b.Reason.rank() })
	return v.report, nil
}

// rank puts the cause before what may follow from it.
func (r Reason) rank() int {
	switch r {
	case ReasonFile, ReasonSignature:
		return 0
	case ReasonChanged, ReasonMissing, ReasonExtra, ReasonDuplicate, ReasonOrder:
		return 1
	case ReasonDiverged, ReasonIndex, ReasonForm, ReasonChain, ReasonAnchor:
		return 2
	default:
		return 3
	}
}

// verification is the state of one Verify.
type verification struct {
	dir       string
	report    Report
	signed    bool         // report.Checkpoint holds
	keptHeads []Checkpoint // that hold
	nodeHeads []Checkpoint // of report.Nodes
	whole     bool         // every leaf is the signed one: what is not in a leaf is nowhere
	anchors   map[string][]anchored
	actions   *actionCheck
}

func (v *verification) problem(p Place, r Reason, format string, args ...any) {
	v.report.Problems = append(v.report.Problems, Problem{p, r, fmt.Sprintf(format, args...)})
}

func (v *verification) note(p Place, r Reason, format string, args ...any) {
	v.report.Notes = append(v.report.Notes, Problem{p, r, fmt.Sprintf(format, args...)})
}

func (v *verification) unchecked(what string) {
	if !slices.Contains(v.report.Unchecked, what) {
		v.report.Unchecked = append(v.report.Unchecked, what)
	}
}

// key returns the verifier to use: the given key, else the export's.
func (v *verification) key(given string) (*Verifier, error) {
	b, err := os.ReadFile(filepath.Join(v.dir, keyFile))
	if err != nil {
		v.problem(filePlace(keyFile), ReasonFile, "cannot be read: %v", err)
	}
	own := strings.TrimSpace(string(b))
	if given == "" && err != nil {
		return nil, fmt.Errorf("%s is no folder of an export: it has no file %s", v.dir, keyFile)
	}
	if given == "" {
		return NewVerifier(own)
	}
	v.report.KeyGiven = true
	verifier, err := NewVerifier(given)
	if err == nil && own != "" && own != verifier.Key() {
		v.problem(filePlace(keyFile), ReasonSignature, "is not the key that was given")
	}
	return verifier, err
}

func (v *verification) checkpoint(verifier *Verifier) {
	b, err := os.ReadFile(filepath.Join(v.dir, checkpointFile))
	if err != nil {
		v.problem(filePlace(checkpointFile), ReasonFile, "cannot be read: %v", err)
		return
	}
	c, err := verifier.Open(b)
	if err != nil {
		v.problem(filePlace(checkpointFile), ReasonSignature, "%v", err)
		return
	}
	v.report.Checkpoint, v.signed = c, true
}

func (v *verification) kept(verifier *Verifier, kept [][]byte) {
	for i, signed := range kept {
		c, err := verifier.Open(signed)
		if err != nil {
			v.problem(filePlace(fmt.Sprintf("kept checkpoint %d", i+1)), ReasonSignature, "%v", err)
			continue
		}
		if !slices.Contains(v.keptHeads, c) { // one that was kept twice tells once
			v.keptHeads = append(v.keptHeads, c)
		}
	}
	slices.SortFunc(v.keptHeads, func(a, b Checkpoint) int { return int(a.Size - b.Size) })
}

// nodes opens what gateways keep; see checkNodes.
func (v *verification) nodes(verifier *Verifier, notes []NodeNote) {
	for _, n := range notes {
		c, err := verifier.Open(n.Note)
		r := NodeReport{Node: n.Node, Size: c.Size}
		if err != nil {
			r.Problem = err.Error()
		}
		v.report.Nodes, v.nodeHeads = append(v.report.Nodes, r), append(v.nodeHeads, c)
	}
}

// files returns the paths, below the export, of the regular files in a folder.
func (v *verification) files(folder string) map[string]bool {
	entries, err := os.ReadDir(filepath.Join(v.dir, folder))
	if err != nil {
		v.problem(filePlace(folder), ReasonFile, "cannot be read: %v", errors.Unwrap(err))
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[filepath.Join(folder, e.Name())] = true
	}
	return names
}
