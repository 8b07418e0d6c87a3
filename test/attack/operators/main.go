// Command operators turns each comparison and each boolean operator of what decides
// into another one, in a copy that the compiler is shown in place of the file, and runs
// the tests of the package: one must fail. An operator that no test misses is a
// survivor, and fails this, unless equivalent.txt says why it makes no difference.
//
//	go run ./test/attack/operators          all
//	go run ./test/attack/operators FILE…    those whose place contains one of the words
//	go run ./test/attack/operators -list    only where they are
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// target is a file that decides, and the tests that must miss its operators.
type target struct {
	file  string
	funcs []string // none: all
	tests []string // packages
	run   string   // which of their tests; the whole packages run before anything is a survivor
}

func targets() []target {
	return []target{
		{file: "grant/grant.go", funcs: []string{"Permits", "InForce"}, tests: []string{"./grant"}},
		{file: "policy/decide.go", tests: []string{"./policy"}},
		{file: "policy/approve.go", tests: []string{"./policy"}},
		{file: "access/verb_approve.go", tests: []string{"./access"}, run: "Approv|P6_|Deny|Decid|Lock|Verb|Explain|Read"},
		{file: "access/people.go", tests: []string{"./access"}, run: "Approv|P6_|Own|Accounts|Lock|Read"},
		{file: "access/reconsider.go", tests: []string{"./access"}, run: "Approv|Activat|Policy|Exception|Lock"},
	}
}

// testLimit is how long the tests of one mutant may take: one that goes round for ever
// is noticed too.
const testLimit = 4 * time.Minute

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

// try runs the mutants, two at a time, and fails if one survives without an excuse.
func try(ctx context.Context, all []mutant, excused map[string]string) error {
	dir, err := os.MkdirTemp("", "operators")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	survivors := make([]bool, len(all))
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for worker := range 2 {
		own := filepath.Join(dir, fmt.Sprint(worker))
		wg.Go(func() {
			for i := range next {
				lives := all[i].survives(ctx, own)
				reason, known := excused[all[i].name()]
				survivors[i] = lives && !known
				mu.Lock()
				switch {
				case survivors[i]:
					fmt.Println("SURVIVES  ", all[i].name())
				case lives:
					fmt.Println("equivalent", all[i].name(), "#", reason)
				case known:
					fmt.Println("killed    ", all[i].name(), "# although equivalent.txt has it: take it out")
				default:
					fmt.Println("killed    ", all[i].name())
				}
				mu.Unlock()
			}
		})
	}
	for i := range all {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	n := 0
	for _, s := range survivors {
		if s {
			n++
		}
	}
	fmt.Printf("%d operators, %d survivors\n", len(all), n)
	if n > 0 {
		return fmt.Errorf("%d operators make no difference to any test", n)
	}
	return nil
}

// survives reports whether every test passes with the operator turned.
func (m mutant) survives(ctx context.Context, dir string) bool {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return true
	}
	overlay, err := m.overlay(dir)
	if err != nil {
		return true
	}
	if m.run != "" && !passes(ctx, overlay, m.tests, m.run) {
		return false
	}
	return passes(ctx, overlay, m.tests, "")
}

func passes(ctx context.Context, overlay string, tests []string, which string) bool {
	ctx, cancel := context.WithTimeout(ctx, testLimit+time.Minute)
	defer cancel()
	args := []string{"test", "-count=1", "-failfast", "-timeout=" + testLimit.String(), "-overlay=" + overlay}
	if which != "" {
		args = append(args, "-run="+which)
	}
	return exec.CommandContext(ctx, "go", append(args, tests...)...).Run() == nil
}
