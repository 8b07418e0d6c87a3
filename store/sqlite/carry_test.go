package sqlite

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// The log is carried over beside the writer and begun anew: however much is written, it
// stays as long as what is written in a second or two.
func TestTheLogIsBegunAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mayfly.db")
	s := openAt(t, path)
	length := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const page = 4096
	var most int64
	for range 5 {
		for length := int64(0); length < longLog*page; length += 1 << 20 {
			if err := put(t.Context(), s, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := s.carryOver(longLog); !ok {
			t.Fatal("it could not be carried over")
		}
		most = max(most, length())
	}
	if limit := int64(2 * longLog * page); most > limit {
		t.Errorf("the log grew to %d bytes, and %d is the limit", most, limit)
	}
	if n := events(t, s); n == 0 {
		t.Error("nothing was written")
	}
}

// Whoever writes all the time leaves no moment in which the whole log is in the file, and
// whoever reads all the time none in which nobody reads.
func TestTheLogIsBegunAnewWhileMuchIsWrittenAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mayfly.db")
	s := openAt(t, path)
	var reading sync.WaitGroup
	written := make(chan struct{})
	begun := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for n := range begun {
		reading.Go(func() {
			over := false
			for first := n == 0; !over; first = false {
				err := s.View(t.Context(), func(access.Tx) error { // until the other one has begun again
					if !first {
						select {
						case begun[n] <- struct{}{}:
						case <-written:
						}
					}
					select {
					case <-begun[1-n]:
					case <-written:
						over = true
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	const page = 4096
	for range 16 * longLog * page >> 20 {
		if err := put(t.Context(), s, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	close(written)
	reading.Wait()
	info, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(8 * longLog * page); info.Size() > limit {
		t.Errorf("the log grew to %d bytes, and %d is the limit", info.Size(), limit)
	}
}

// What is committed is carried over without anybody's asking.
func TestTheLogIsCarriedOverByItself(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	if err := put(t.Context(), s, 1<<20); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(time.Minute); s.committed.Load(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("nobody carries it over")
		}
	}
}
