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
		Use: "policy", Short: "Check, test and plan policy before it is committed",
		Example: "  mayfly policy check ./policy\n  mayfly policy test ./policy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("mayfly policy check, test, diff, plan or replay")
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "check DIR", Short: "Say everything that is wrong with a policy, with file, line and column",
		Example: "  mayfly policy check ./policy", Args: cobra.ExactArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			set, err := a.loadPolicy(args[0])
			if err != nil {
				return err
			}
			if err := a.tellMistakes(args[0], set.CheckAt(a.c.Now())); err != nil {
				return err
			}
			fmt.Fprintf(a.c.Stdout, "%s is a policy: %s, %s, %s, digest %s\n",
				plain(args[0]), count(len(set.Apps()), "app"), count(len(set.Entitlements()), "entitlement"), count(len(set.Nodes()), "node"), set.Digest())
			return nil
		}),
	}, &cobra.Command{
		Use: "test DIR", Short: "Run the tests that stand in a policy",
		Example: "  mayfly policy test ./policy", Args: cobra.ExactArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error { return a.testPolicy(args[0]) }),
	})
	cmd.AddCommand(a.policyDiffCommand(), a.policyPlanCommand(), a.policyReplayCommand())
	return cmd
}

func (a *app) loadPolicy(dir string) (*policy.Set, error) {
	files, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	options, err := a.c.Policy()
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(files, options)
	return set, a.tellMistakes(dir, err)
}

// tellMistakes shows the mistakes that err is, if it is those, and ends the command.
func (a *app) tellMistakes(dir string, err error) error {
	var wrong policy.Errors
	if !errors.As(err, &wrong) {
		return err
	}
	if a.isJSON() {
		if err := a.json(wrong); err != nil {
			return err
		}
		return exit{exitError}
	}
	for _, e := range wrong {
		fmt.Fprintln(a.c.Stdout, plain(e.Error()))
	}
	a.note("%s is not a policy: %s", dir, count(len(wrong), "mistake"))
	return exit{exitError}
}

func (a *app) testPolicy(dir string) error {
	set, err := a.loadPolicy(dir)
	if err != nil {
		return err
	}
	results := policy.RunTests(set)
	failed := 0
	for _, r := range results {
		if r.Passed {
			continue
		}
		failed++
		if !a.isJSON() {
			fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("%s:%d: %s as %s: expected %s, got %s: %s", r.File, r.Line, r.Entitlement, r.As, r.Want, r.Got, r.Message)))
		}
	}
	if a.isJSON() {
		if err := a.json(results); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.c.Stdout, "%d tests, %d failed\n", len(results), failed)
	}
	if failed > 0 {
		return exit{exitError}
	}
	return nil
}

// readFolder reads every regular file below dir, by slash path. Links are
// refused: what they lead to is not in the commit.
func readFolder(dir string) (map[string][]byte, error) {
	root, err := os.OpenRoot(dir)
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
