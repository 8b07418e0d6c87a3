package env

import (
	"io"
	"net"
	"sync"
)

// Relay passes connections on to an address, until its network is bad: it then holds
// or swallows what comes, and nobody is told, as behind one that drops packets.
type Relay struct {
	Address string // where it listens

	to       string
	listener net.Listener
	up, down *valve // towards the address, and back

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
	r := &Relay{Address: l.Addr().String(), to: to, listener: l, up: newValve(), down: newValve()}
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
		go pass(out, in, r.up, hole)
		go pass(in, out, r.down, hole)
	}
}

// pass copies, waiting where the valve is shut, until the hole opens; then it reads
// on, and writes nothing. A connection's end waits and is swallowed like what it sent.
func pass(to, from net.Conn, v *valve, hole <-chan struct{}) {
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		v.wait()
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

// Hold lets nothing pass in either direction until Heal, and loses nothing: what was
// sent meanwhile arrives late.
func (r *Relay) Hold() {
	r.up.shut()
	r.HoldBack()
}

// HoldBack is Hold for the way back only: what is sent to the address arrives, what
// it answers waits.
func (r *Relay) HoldBack() { r.down.shut() }

// Heal lets what was held pass, and new connections. Those that swallowed go on to:
// what was lost is in the middle of them.
func (r *Relay) Heal() {
	r.mu.Lock()
	r.black = false
	r.mu.Unlock()
	r.up.open()
	r.down.open()
}

// Close ends the relay and its connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for _, c := range r.closes {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.up.open()
	r.down.open()
}

// valve is one direction of a network.
type valve struct {
	mu   sync.Mutex
	free chan struct{} // closed while what comes may pass
}

func newValve() *valve {
	v := &valve{free: make(chan struct{})}
	close(v.free)
	return v
}

func (v *valve) wait() {
	v.mu.Lock()
	free := v.free
	v.mu.Unlock()
	<-free
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.free:
		v.free = make(chan struct{})
	default:
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.free:
	default:
		close(v.free)
	}
}
