package env

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root returns the checkout's folder: the nearest one above with a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above")
		}
		dir = up
	}
}

// Build builds the product's binaries into dir.
func Build(ctx context.Context, dir string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "./cmd/mayfly", "./cmd/mayflyd", "./cmd/mayfly-sidecar")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// Tool returns the path of a program that make puts below .cache, else its name
// for PATH.
func Tool(parts ...string) string {
	root, err := Root()
	if err != nil {
		return parts[len(parts)-1]
	}
	path := filepath.Join(append([]string{root, ".cache"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		return parts[len(parts)-1]
	}
	return path
}
