package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/policy"
)

const (
	maxPolicyFiles = 10_000
	maxPolicyFile  = 1 << 20 // bytes
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Check, test and plan policy before it is committed, and see how it stands",
		Example: "  mayfly policy check ./policy\n  mayfly policy test ./policy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("mayfly policy check, test, diff, plan, replay, log, status or hold")
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "check DIR", Short: "Say everything that is wrong with a policy, with file, line and column",
		Example: "  mayfly policy check ./policy", Args: cobra.ExactArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.checkPolicy(args[0])
		}),
	}, &cobra.Command{
		Use: "test DIR", Short: "Run the tests that stand in a policy",
		Example: "  mayfly policy test ./policy", Args: cobra.ExactArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error { return a.testPolicy(args[0]) }),
	})
	cmd.AddCommand(a.policyDiffCommand(), a.policyPlanCommand(), a.policyReplayCommand(), a.policyLogCommand(), a.policyStatusCommand(), a.policyHoldCommand())
	return cmd
}

// loadPolicy reads a policy. Its error is a policy.Errors if the files are none.
func (a *app) loadPolicy(dir string) (*policy.Set, error) {
	files, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	options, err := a.c.Policy()
	if err != nil {
		return nil, err
	}
	return policy.Load(files, options)
}

// readFolder reads every regular file below dir, by slash path. Links are
// refused: what they lead to is not in the commit.
func readFolder(dir string) (map[string][]byte, error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if !isPolicy(root) { // before all that lies there is read
		return nil, hinted{fmt.Errorf("%s is no policy folder: it has no mayfly.yaml, apps or entitlements", dir), "mayfly policy check ./policy"}
	}
	out := map[string][]byte{}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipGit(name)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", filepath.Join(dir, name))
		case len(out) >= maxPolicyFiles:
			return fmt.Errorf("%s holds more than %d files", dir, maxPolicyFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxPolicyFile {
			return fmt.Errorf("%s is over 1 MiB", filepath.Join(dir, name))
		}
		out[name], err = fs.ReadFile(root.FS(), name)
		return err
	})
	return out, err
}

// openFolder opens a folder, and says what was typed if it is none.
func openFolder(dir string) (*os.Root, error) {
	const hint = "mayfly policy check ./policy"
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hinted{fmt.Errorf("there is no folder %s", dir), hint}
	case err == nil && !info.IsDir():
		return nil, hinted{fmt.Errorf("%s is a file: a policy is checked whole, by its folder", dir), "mayfly policy check " + folderOf(dir)}
	}
	return os.OpenRoot(dir)
}

// folderOf guesses which policy a file belongs to: the nearest folder above it that
// looks like one.
func folderOf(file string) string {
	dir := filepath.Dir(file)
	for range 16 {
		if root, err := os.OpenRoot(dir); err == nil {
			_, err := root.Stat("mayfly.yaml")
			root.Close()
			if err == nil {
				return dir
			}
		}
		dir = filepath.Join(dir, "..")
	}
	return filepath.Dir(file)
}

// isPolicy tells a policy with a mistake from a folder of something else.
func isPolicy(root *os.Root) bool {
	return slices.ContainsFunc([]string{"mayfly.yaml", "apps", "entitlements"}, func(name string) bool {
		_, err := root.Stat(name)
		return err == nil
	})
}

func skipGit(name string) error {
	if filepath.Base(name) == ".git" {
		return fs.SkipDir
	}
	return nil
}
