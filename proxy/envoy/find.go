package envoy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// ErrNotFound is wrapped when no usable Envoy was found.
var ErrNotFound = errors.New("no usable envoy")

// Floor is the oldest Envoy that is taken: the fixes that keep a request from
// passing around ext_authz are in it.
func Floor() Version { return Version{1, 40, 0} }

// Version of an Envoy.
type Version struct{ Major, Minor, Patch int }

// String returns major.minor.patch.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

func (v Version) less(o Version) bool {
	if v.Major != o.Major {
		return v.Major < o.Major
	}
	if v.Minor != o.Minor {
		return v.Minor < o.Minor
	}
	return v.Patch < o.Patch
}

// FindConfig says where to look.
type FindConfig struct {
	Named    string // value of MAYFLY_ENVOY: if set, this one or none
	Fallback string // path to take when PATH has none, e.g. .cache/envoy/envoy; may be empty
}

// Binary is an Envoy that was run once and said its version.
type Binary struct {
	Path    string
	Version Version
}

// Find returns the Envoy named by the user, else the first usable one of PATH and
// the fallback. The error wraps ErrNotFound and says what each place had.
func Find(ctx context.Context, c FindConfig) (Binary, error) {
	if c.Named != "" {
		b, err := probe(ctx, c.Named)
		if err != nil {
			return Binary{}, fmt.Errorf("%w: MAYFLY_ENVOY: %w", ErrNotFound, err)
		}
		return b, nil
	}
	var why []error
	if path, err := exec.LookPath("envoy"); err != nil {
		why = append(why, errors.New("no envoy on PATH"))
	} else if b, err := probe(ctx, path); err != nil {
		why = append(why, err)
	} else {
		return b, nil
	}
	if c.Fallback != "" {
		b, err := probe(ctx, c.Fallback)
		if err == nil {
			return b, nil
		}
		why = append(why, err)
	}
	return Binary{}, fmt.Errorf("%w: %w; put Envoy %s or newer on PATH, name it in MAYFLY_ENVOY, or run `make envoy`", ErrNotFound, errors.Join(why...), Floor())
}

func probe(ctx context.Context, path string) (Binary, error) {
	if _, err := os.Stat(path); err != nil {
		return Binary{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		return Binary{}, fmt.Errorf("%s --version: %w", path, err)
	}
	v, err := parseVersion(string(out))
	if err != nil {
		return Binary{}, fmt.Errorf("%s --version: %w", path, err)
	}
	if v.less(Floor()) {
		return Binary{}, fmt.Errorf("%s is %s, older than %s", path, v, Floor())
	}
	return Binary{Path: path, Version: v}, nil
}

// parseVersion reads "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL".
func parseVersion(s string) (Version, error) {
	_, rest, ok := strings.Cut(s, "version: ")
	parts := strings.Split(strings.TrimSpace(rest), "/")
	if !ok || len(parts) < 2 {
		return Version{}, fmt.Errorf("not Envoy's version line: %.80q", s)
	}
	number, _, _ := strings.Cut(parts[1], "-") // 1.41.0-dev
	var n []int
	for p := range strings.SplitSeq(number, ".") {
		i, err := strconv.Atoi(p)
		if err != nil || i < 0 {
			return Version{}, fmt.Errorf("not a version: %.80q", parts[1])
		}
		n = append(n, i)
	}
	if len(n) != 3 {
		return Version{}, fmt.Errorf("not a version: %.80q", parts[1])
	}
	return Version{n[0], n[1], n[2]}, nil
}
