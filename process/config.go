package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"

	"github.com/goccy/go-yaml"
)

// ReadConfig reads the YAML file at path into into, strictly: a key that into does not
// have is an error, with its place.
func ReadConfig(path string, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; --config names another file", err)
	}
	if err != nil {
		return err
	}
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.CustomUnmarshaler(readAddress)).Decode(into)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: nothing stands in it", path)
	}
	if err != nil {
		return fmt.Errorf("%s:\n%w", path, err)
	}
	return nil
}

// readAddress is how an address of the file is read: its error says what was written.
func readAddress(out *netip.AddrPort, text []byte) error {
	var s string
	if err := yaml.Unmarshal(text, &s); err != nil {
		return err
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("%q: want IP:port, such as 0.0.0.0:8443; a host name is none", s)
	}
	*out = a
	return nil
}

// Collide reports whether one machine cannot listen on both. The zero address, and
// port 0, collide with nothing.
func Collide(a, b netip.AddrPort) bool {
	return a.IsValid() && b.IsValid() && a.Port() == b.Port() && a.Port() != 0 && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}
