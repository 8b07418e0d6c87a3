// Command operators turns each comparison and each boolean operator of what decides
// into another one and runs the tests of the package: one must fail. An operator that no
// test misses is a survivor, and fails this, unless equivalent.txt says why it makes no
// difference. All operators of a package are built into one binary of its tests, which
// the compiler is shown in place of the files, and turned one at a time. Only a test
// counts: nothing is vetted, and a build has the time that it takes.
//
//	go run ./test/attack/operators          all
//	go run ./test/attack/operators FILE…    those whose place contains one of the words
//	go run ./test/attack/operators -list    only where they are
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is a file that decides. The tests of its package must miss its operators.
type target struct {
	file  string
	funcs []string // none: all
	run   string   // which tests come first; all of them run before anything is a survivor
}

// dir is the folder of the package.
func (t target) dir() string { return filepath.Dir(t.file) }

func targets() []target {
	return []target{
		{file: "grant/grant.go", funcs: []string{"Permits", "InForce"}},
		{file: "policy/decide.go"},
		{file: "policy/approve.go"},
		{file: "policy/bundle.go"},
		{file: "policy/bundle_decide.go"},
		{file: "access/verb_approve.go", run: "Approv|P6_|Deny|Decid|Lock|Verb|Explain|Read"},
		{file: "access/people.go", run: "Approv|P6_|Own|Accounts|Lock|Read"},
		{file: "access/reconsider.go", run: "Approv|Activat|Policy|Exception|Lock"},
	}
}

// built is a binary of the tests of a package, with all its operators.
type built struct {
	dir    string // of the package
	binary string
	// limit is how long its tests may take: one that goes round for ever is noticed too,
	// and told apart from one that a test has found.
	limit time.Duration
}

func main() {
	list := flag.Bool("list", false, "only say where the operators are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *list, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "operators:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list bool, words []string) error {
	excused, err := readExcused("test/attack/operators/equivalent.txt")
	if err != nil {
		return err
	}
	var all []mutant
	packages := map[string][]*source{}
	for _, t := range targets() {
		found, err := readSource(t, len(all))
		if err != nil {
			return err
		}
		all = append(all, found.all...)
		packages[t.dir()] = append(packages[t.dir()], found)
	}
	for name := range excused {
		if !slices.ContainsFunc(all, func(m mutant) bool { return m.name() == name }) {
			return fmt.Errorf("equivalent.txt excuses %q, which is not there", name)
		}
	}
	if len(words) > 0 {
		all = slices.DeleteFunc(all, func(m mutant) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(m.name(), w) })
		})
	}
	if list {
		for _, m := range all {
			fmt.Println(m.name())
		}
		return nil
	}
	return try(ctx, packages, all, excused)
}

// verdict is what became of a mutant.
type verdict int

const (
	killed verdict = iota // a test failed
	late                  // the tests did not end in time
	lives                 // every test passes
)

// try runs the mutants, two at a time, and fails if one survives without an excuse.
func try(ctx context.Context, packages map[string][]*source, all []mutant, excused map[string]string) error {
	dir, err := os.MkdirTemp("", "operators")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binaries := map[string]built{}
	for pkg, files := range packages {
		if !slices.ContainsFunc(all, func(m mutant) bool { return m.dir() == pkg }) {
			continue
		}
		if binaries[pkg], err = build(ctx, filepath.Join(dir, pkg), pkg, files); err != nil {
			return fmt.Errorf("%s: %w", pkg, err)
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var survivors atomic.Int64
	var wg sync.WaitGroup
	next := make(chan mutant)
	for range 2 {
		wg.Go(func() {
			for m := range next {
				v, err := m.judge(ctx, binaries[m.dir()])
				if err != nil {
					stop(fmt.Errorf("%s: %w", m.name(), err))
					continue
				}
				reason, known := excused[m.name()]
				switch {
				case v == lives && known:
					fmt.Println("equivalent", m.name(), "#", reason)
				case v == lives:
					survivors.Add(1)
					fmt.Println("SURVIVES  ", m.name())
				case known:
					fmt.Println("killed    ", m.name(), "# although equivalent.txt has it: take it out")
				case v == late:
					fmt.Println("killed    ", m.name(), "# by time: its tests went on for", binaries[m.dir()].limit)
				default:
					fmt.Println("killed    ", m.name())
				}
			}
		})
	}
	for _, m := range all {
		if ctx.Err() == nil {
			next <- m
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	n := survivors.Load()
	fmt.Printf("%d operators, %d survivors\n", len(all), n)
	if n > 0 {
		return fmt.Errorf("%d operators make no difference to any test", n)
	}
	return nil
}

// build makes the tests of a package with all its operators, and runs them as they are:
// tests that fail anyway would kill everything.
func build(ctx context.Context, dir, pkg string, files []*source) (built, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return built{}, err
	}
	switches := "package " + files[0].tree.Name.Name + "\n\nimport \"os\"\n\n"
	replace := map[string]string{}
	write := func(name, text string) error {
		whole, err := filepath.Abs(filepath.Join(pkg, name))
		if err != nil {
			return err
		}
		replace[whole] = filepath.Join(dir, name)
		return os.WriteFile(replace[whole], []byte(text), 0o600)
	}
	for _, s := range files {
		for _, m := range s.all {
			switches += fmt.Sprintf("var %s = os.Getenv(%q) == \"%d\"\n", m.on(), switchName, m.id)
		}
		if err := write(filepath.Base(s.file), s.mutated()); err != nil {
			return built{}, err
		}
	}
	if err := write("operators_turned.go", switches); err != nil {
		return built{}, err
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return built{}, err
	}
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tests")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return built{}, err
	}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o="+binary, "./"+pkg).CombinedOutput(); err != nil {
		return built{}, fmt.Errorf("%w: %s", err, out)
	}
	b := built{dir: pkg, binary: binary, limit: time.Hour}
	began := time.Now()
	if v, err := b.test(ctx, -1, ""); err != nil || v != lives {
		return built{}, errors.Join(err, errors.New("its tests do not pass as it is"))
	}
	b.limit = time.Minute + 4*time.Since(began).Round(time.Second)
	return b, nil
}

// judge runs the tests with the operator turned.
func (m mutant) judge(ctx context.Context, b built) (verdict, error) {
	if m.run != "" {
		if v, err := b.test(ctx, m.id, m.run); err != nil || v != lives {
			return v, err
		}
	}
	return b.test(ctx, m.id, "")
}

// switchName is the variable of the environment that says which operator is turned.
const switchName = "MAYFLY_OPERATOR"

// maxMemory is how much the tests may take, in bytes: an operator turned can have one
// gather without end, which is found by that long before it is found by time.
const maxMemory = 6 << 30

// test runs those tests whose names match, in the folder of their package, with one
// operator turned.
func (b built) test(ctx context.Context, id int, which string) (verdict, error) {
	limited, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	cmd := exec.CommandContext(limited, "sh", "-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, maxMemory>>10), b.binary, "-test.failfast", "-test.run="+which)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), fmt.Sprintf("%s=%d", switchName, id))
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case limited.Err() != nil:
		return late, nil
	case err == nil:
		return lives, nil
	case errors.As(err, new(*exec.ExitError)):
		return killed, nil
	default:
		return 0, err
	}
}
