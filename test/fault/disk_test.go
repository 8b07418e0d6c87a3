package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a small disk of its own, in memory, that can be filled. A nil disk is one
// that this machine does not let us have.
type disk struct {
	dir  string
	stop chan struct{} // not nil while it is kept full
	done sync.WaitGroup
}

// mount puts a disk of so many bytes at dir, which it makes, until the test ends.
func mount(t testing.TB, dir string, size int64) (*disk, error) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("mayfly-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return nil, fmt.Errorf("no small disk to fill: mount a tmpfs, as root: %w", err)
	}
	d := &disk{dir: dir}
	t.Cleanup(func() {
		d.leave()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d, nil
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no room, and takes what others give back, until free.
func (d *disk) fill(t testing.TB) {
	t.Helper()
	f := check[*os.File](t)(os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))
	full := make(chan error, 1)
	d.stop = make(chan struct{})
	d.done.Go(func() {
		defer f.Close()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for first := true; ; first = false {
			err := stuff(f)
			if first {
				full <- err
			}
			select {
			case <-tick.C:
			case <-d.stop:
				return
			}
		}
	})
	if err := <-full; err != nil {
		t.Fatal(err)
	}
}

// stuff writes until nothing fits any more.
func stuff(f *os.File) error {
	for b := make([]byte, 1<<20); len(b) > 0; {
		_, err := f.Write(b)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			b = b[:len(b)/2]
		case err != nil:
			return err
		}
	}
	return nil
}

func (d *disk) free(t testing.TB) {
	t.Helper()
	d.leave()
	if err := os.Remove(d.ballast()); err != nil {
		t.Error(err)
	}
}

// leave ends what keeps the disk full, if anything does.
func (d *disk) leave() {
	if d.stop != nil {
		close(d.stop)
		d.done.Wait()
		d.stop = nil
	}
}
