package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// go test ./policy -run Corpus -corpus makes the corpus of a new EngineVersion. One that
// is there is never written again: what a release decided stays decided.
var makeCorpus = flag.Bool("corpus", false, "make the corpus of this EngineVersion, if there is none")

const corpora = "testdata/corpus"

// corpusName is the folder of an engine version.
func corpusName(engine string) string {
	return strings.NewReplacer("/", "-", " ", "_").Replace(engine)
}

// kept is one line of a corpus: what was asked, and everything that was decided.
type kept struct {
	Inputs   json.RawMessage `json:"inputs"`
	Decision json.RawMessage `json:"decision"`
}

// keptDecision is all of a Decision that a caller acts on or shows.
func keptDecision(t testing.TB, d Decision) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"outcome": d.Outcome, "code": d.Code, "sentence": d.Sentence, "reasons": d.Reasons, "steps": d.Steps, "duration": d.Duration.String(),
		"app": d.Expansion.App, "scope": d.Expansion.Scope, "class": d.Expansion.Class.String(), "params": d.Expansion.Params, "any": d.Expansion.ShownAny,
		"catalogue": d.Expansion.Catalogue, "idle_after": d.Expansion.IdleAfter.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestP8_TheCorpusDecidesAsItDid makes the decisions that were kept with each release
// again. Those of this EngineVersion have to come out to the byte: whoever changes what is
// decided changes the version. Those of another are said to be another's.
func TestP8_TheCorpusDecidesAsItDid(t *testing.T) {
	own := filepath.Join(corpora, corpusName(EngineVersion()))
	if _, err := os.Stat(own); err != nil && *makeCorpus {
		writeCorpus(t, own)
	}
	entries, err := os.ReadDir(corpora)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range entries {
		found = found || e.Name() == filepath.Base(own)
		policies, err := os.ReadDir(filepath.Join(corpora, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range policies {
			replayCorpus(t, filepath.Join(corpora, e.Name(), p.Name()), e.Name() == filepath.Base(own))
		}
	}
	if !found {
		t.Errorf("there is no corpus of %s: make corpus", EngineVersion())
	}
}

func replayCorpus(t *testing.T, dir string, own bool) {
	t.Helper()
	s := corpusSet(t, os.DirFS(filepath.Join(dir, "policy")))
	lines, err := os.ReadFile(filepath.Join(dir, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(lines) {
		n++
		var k kept
		var in Inputs
		if err := json.Unmarshal(line, &k); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(k.Inputs, &in); err != nil {
			t.Fatal(err)
		}
		d, err := s.Replay(in)
		switch {
		case !own:
			if err == nil || !strings.HasPrefix(err.Error(), "engine differs") {
				t.Errorf("%s:%d: a decision of another engine: %v", dir, n, err)
			}
		case err != nil:
			t.Errorf("%s:%d: %v", dir, n, err)
		case !bytes.Equal(keptDecision(t, d), k.Decision):
			t.Errorf("%s:%d: decided\n%s\nand by this version, which says that it is the same engine,\n%s\nChange EngineVersion.", dir, n, k.Decision, keptDecision(t, d))
		case !bytes.Equal(d.Inputs.Canonical(), k.Inputs):
			t.Errorf("%s:%d: the inputs are stored otherwise: %s, %s", dir, n, d.Inputs.Canonical(), k.Inputs)
		}
	}
	if n < 50 {
		t.Errorf("%s has only %d decisions", dir, n)
	}
}

func corpusSet(t *testing.T, root fs.FS) *Set {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.InForce = true
	s, err := Load(files, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writeCorpus asks at random, with a fixed seed, under a policy for each rule.
func writeCorpus(t *testing.T, dir string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	for i, when := range rules() {
		s := closerSet(t, when)
		var out bytes.Buffer
		for range 120 {
			in := someAsk(t, r)
			if r.IntN(2) == 0 {
				in.Requester.GroupsAt = in.Requester.GroupsAt.Add(-time.Duration(r.IntN(1000)) * time.Millisecond)
			}
			if r.IntN(20) == 0 {
				in.Beneficiary = identity.Principal{}
			}
			d := s.Decide(in)
			b, err := json.Marshal(kept{Inputs: d.Inputs.Canonical(), Decision: keptDecision(t, d)})
			if err != nil {
				t.Fatal(err)
			}
			out.Write(append(b, '\n'))
		}
		one := filepath.Join(dir, fmt.Sprint(i+1))
		for name, text := range s.Files() {
			write(t, filepath.Join(one, "policy", filepath.FromSlash(name)), text)
		}
		write(t, filepath.Join(one, "decisions.jsonl"), out.Bytes())
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
