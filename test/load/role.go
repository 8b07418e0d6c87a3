package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// roleVariable makes this program play a part of its own run, in another process.
const roleVariable = "MAYFLY_LOAD_ROLE"

// Parts that are played in another process.
const (
	roleFleet  = "fleet"  // the instances
	roleMemory = "memory" // one table, to be weighed
)

// play is main in another process: orders come on stdin, news go to stdout, one JSON
// object a line. It ends when stdin does.
func play(role string) int {
	here := &stage{in: json.NewDecoder(bufio.NewReader(os.Stdin)), out: json.NewEncoder(os.Stdout)}
	parts := map[string]func(context.Context, *stage) error{roleFleet: playFleet, roleMemory: playMemory}
	part, ok := parts[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "no role %q\n", role)
		return 1
	}
	if err := part(context.Background(), here); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		return 1
	}
	return 0
}

// stage is the other process's side.
type stage struct {
	in *json.Decoder

	mu  sync.Mutex
	out *json.Encoder
}

func (s *stage) next(order any) error { return s.in.Decode(order) }

func (s *stage) tell(news any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Encode(news)
}

// player is this process's side of one that it started.
type player struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder

	mu sync.Mutex
}

// start starts this program again in a role. It does not outlive us.
func start(role string, log io.Writer) (*player, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &player{cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

func (p *player) order(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = p.in.Write(append(text, '\n'))
	return err
}

// end lets the process end, and waits for it.
func (p *player) end() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}
