package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/mayflyproxy/mayfly/test/env"
)

// peakMB returns the most memory that a process ever had resident.
func peakMB(p *env.Process) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var kb string
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %s kB", &kb); n == 1 {
			v, err := strconv.ParseFloat(kb, 64)
			return float64(int(v/1024*10)) / 10, err
		}
	}
	return 0, fmt.Errorf("%s has no VmHWM", p.Name)
}
