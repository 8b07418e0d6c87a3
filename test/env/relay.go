package env

import (
	"io"
	"net"
	"sync"
)

// Relay passes connections on to an address, until it swallows what comes: then nothing
// passes either way, and nobody is told, as behind a network that drops packets.
type Relay struct {
	Address string // where it listens

	to       string
	listener net.Listener

	mu     sync.Mutex
	holes  []chan struct{} // of connections, closed when they swallow
	black  bool
	closes []io.Closer
}

// NewRelay listens on a free loopback port.
func NewRelay(to string) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{Address: l.Addr().String(), to: to, listener: l}
	go r.run()
	return r, nil
}

func (r *Relay) run() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.mu.Lock()
		hole := make(chan struct{})
		if r.black {
			close(hole)
		} else {
			r.holes = append(r.holes, hole)
		}
		r.closes = append(r.closes, in, out)
		r.mu.Unlock()
		go pass(out, in, hole)
		go pass(in, out, hole)
	}
}

// pass copies until the hole opens; then it reads on, and writes nothing.
func pass(to, from net.Conn, hole <-chan struct{}) {
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		select {
		case <-hole:
			if err != nil {
				return
			}
			continue
		default:
		}
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

// Swallow lets nothing pass any more, on any connection, and closes none.
func (r *Relay) Swallow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.black = true
	for _, h := range r.holes {
		close(h)
	}
	r.holes = nil
}

// Close ends the relay and its connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.closes {
		_ = c.Close()
	}
}
