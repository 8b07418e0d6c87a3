package main

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// elsewhere is the priority of what stands for other machines: it gives way to the
// product that runs here.
const elsewhere = 10

// giveWay lowers the priority of every thread of this process; later ones inherit it.
func giveWay() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, elsewhere); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
