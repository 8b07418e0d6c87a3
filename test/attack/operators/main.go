// Command operators turns each comparison and each boolean operator of what decides
// into another one, in a copy that the compiler is shown in place of the file, and runs
// the tests of the package: one must fail. An operator that no test misses is a
// survivor, and fails this, unless equivalent.txt says why it makes no difference. Only
// a test counts: nothing is vetted, and a build has the time that it takes.
//
//	go run ./test/attack/operators          all
//	go run ./test/attack/operators FILE…    those whose place contains one of the words
//	go run ./test/attack/operators -list    only where they are
package main

import (
	"context"
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

func targets() []target {
	return []target{
		{file: "grant/grant.go", funcs: []string{"Permits", "InForce"}},
		{file: "policy/decide.go"},
		{file: "policy/approve.go"},
		{file: "access/verb_approve.go", run: "Approv|P6_|Deny|Decid|Lock|Verb|Explain|Read"},
		{file: "access/people.go", run: "Approv|P6_|Own|Accounts|Lock|Read"},
		{file: "access/reconsider.go", run: "Approv|Activat|Policy|Exception|Lock"},
	}
}

// testLimit is how long the tests of one mutant may take: one that goes round for ever
// is noticed too, and told apart from one that a test has found.
const testLimit = 10 * time.Minute

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
	for _, t := range targets() {
		found, err := mutantsOf(t)
		if err != nil {
			return err
		}
		all = append(all, found...)
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
	return try(ctx, all, excused)
}

// verdict is what became of a mutant.
type verdict int

const (
	killed verdict = iota // a test failed
	late                  // the tests did not end in time
	lives                 // every test passes
)

// try runs the mutants, two at a time, and fails if one survives without an excuse.
func try(ctx context.Context, all []mutant, excused map[string]string) error {
	dir, err := os.MkdirTemp("", "operators")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var survivors atomic.Int64
	var wg sync.WaitGroup
	next := make(chan mutant)
	for worker := range 2 {
		own := filepath.Join(dir, fmt.Sprint(worker))
		wg.Go(func() {
			for m := range next {
				v, err := m.judge(ctx, own)
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
					fmt.Println("killed    ", m.name(), "# by time: its tests went on for", testLimit)
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

// judge builds the tests with the operator turned, and runs them.
func (m mutant) judge(ctx context.Context, dir string) (verdict, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	overlay, err := m.overlay(dir)
	if err != nil {
		return 0, err
	}
	binary := filepath.Join(dir, "tests")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o="+binary, "./"+filepath.Dir(m.file))
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	if m.run != "" {
		if v, err := m.test(ctx, binary, m.run); err != nil || v != lives {
			return v, err
		}
	}
	return m.test(ctx, binary, "")
}

// test runs those tests of the binary whose names match, in the folder of their package.
func (m mutant) test(ctx context.Context, binary, which string) (verdict, error) {
	limited, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, binary, "-test.failfast", "-test.run="+which)
	cmd.Dir = filepath.Dir(m.file)
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
