package history

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNoHistoryBreaksAPromise runs 1,000 histories, 100,000 with
// MAYFLY_LONG=1, MAYFLY_HISTORIES of them if that is set. Under the race detector,
// which makes SQLite twenty times slower, a few. -rapid.seed=N repeats a run.
func TestNoHistoryBreaksAPromise(t *testing.T) {
	n := size(t)
	seed := setUp(t, n)
	db, signer, root, total, began := template(t), newSigner(t), folder(t), &counts{}, time.Now()
	defer func() {
		fmt.Printf("histories: %d with %d steps, seed %s: %d grants, %d of them ended by somebody; %d actions permitted, %d denied; %s\n",
			total.histories, total.steps, seed, total.grants, total.ended, total.allowed, total.denied, time.Since(began).Round(time.Second))
	}()
	found := false
	rapid.Check(t, func(r *rapid.T) {
		history := histories().Draw(r, "history")
		if err := once(t, db, signer, root, history, total); err != nil {
			if !found {
				fmt.Printf("found in history %d: %v\n", total.histories, err)
			}
			found = true
			r.Fatal(err)
		}
	})
	if total.allowed == 0 || total.ended == 0 {
		t.Error("nothing was ever permitted, or nothing ended")
	}
}

func once(t *testing.T, db []byte, signer recordKey, root string, history []step, total *counts) error {
	dir, err := os.MkdirTemp(root, "history")
	if err != nil {
		return err
	}
	return errors.Join(live(t, db, signer, dir, history, total), os.RemoveAll(dir))
}

// folder is in memory where there is such a place: what a disk does to a database
// is shown elsewhere.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mayfly-history")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func size(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("MAYFLY_HISTORIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if raced {
		return 8
	}
	if os.Getenv("MAYFLY_LONG") == "1" {
		return 100_000
	}
	return 1000
}

// setUp tells rapid how many, and from which seed unless one was given.
func setUp(t *testing.T, n int) (seed string) {
	t.Helper()
	set := map[string]string{"rapid.checks": fmt.Sprint(n), "rapid.nofailfile": "true"}
	if seed = flag.Lookup("rapid.seed").Value.String(); seed == "0" {
		seed = strconv.FormatInt(time.Now().UnixNano()%1_000_000_007+1, 10)
		set["rapid.seed"] = seed
	}
	for name, value := range set {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return seed
}
