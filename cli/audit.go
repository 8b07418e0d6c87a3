package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Export and verify the record",
		Example: "  mayfly audit verify\n  mayfly audit export ./record", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("mayfly audit export, or mayfly audit verify")
		},
	}
	cmd.AddCommand(a.exportCommand(), a.verifyCommand())
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export DIR", Short: "Fetch the whole record into a folder",
		Long: `Fetches leaves, segments and a checkpoint into an empty or new folder (for the
security group). mayfly audit verify checks it, on any machine, without the server.`,
		Example: "  mayfly audit export ./record && mayfly audit verify ./record", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.export(cmd.Context(), client, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.c.Stdout, "The record is in %s.\n", plain(args[0]))
			a.hint("mayfly audit verify " + args[0])
			return nil
		}),
	}
}

// export fetches the record into dir and keeps its checkpoint.
func (a *app) export(ctx context.Context, client *api.Client, dir string) error {
	stream, err := client.Export(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := unpack(stream, dir); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	key, err := a.recordKey()
	if err != nil || key == "" {
		return err
	}
	note, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	k, err := a.keptOf(key)
	if err != nil {
		return err
	}
	return k.add(key, note)
}

// unpack writes a tar archive of plain files and folders below dir, which must be
// empty or not there.
func unpack(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return errors.Join(usage{dir + " is not an empty folder", ""}, err)
	}
	root, err := os.OpenRoot(dir) // no name and no link leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackOne(root, h, archive); err != nil {
			return err
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, r io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	switch {
	case !filepath.IsLocal(name):
		return fmt.Errorf("%q leads out of the folder", h.Name)
	case h.Typeflag == tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%q is no plain file", h.Name)
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// verifying is what verify was called with.
type verifying struct {
	keyFile     string
	checkpoints []string
	nodes       bool
}

func (a *app) verifyCommand() *cobra.Command {
	var in verifying
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Check that the record is whole and unchanged",
		Long: `Computes everything again from the entries: the tree and its signature, every
segment of every sidecar, and the pairing of grants, intents, acknowledgements and
outcomes. It is checked against every checkpoint that this command has seen and
kept, and those of --checkpoint. Without DIR the record is fetched first.

The signature is checked with the key in --key, else with the one that was kept at
the first login; without either the export vouches for itself, and it says so.

With --nodes it is checked against what each running gateway keeps, too, by mayflyd's
word of it. Whoever does not trust mayflyd with that takes the file checkpoint from the
state_dir of a gateway, and gives it with --checkpoint.`,
		Example: `  mayfly audit verify
  mayfly audit verify --nodes
  mayfly audit verify ./record --key record.key --checkpoint last-week.note`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), args, in) }),
	}
	cmd.Flags().StringVar(&in.keyFile, "key", "", "file with the record's key")
	cmd.Flags().BoolVar(&in.nodes, "nodes", false, "check against what each running gateway keeps, too; without DIR")
	cmd.Flags().StringArrayVar(&in.checkpoints, "checkpoint", nil, "file with a signed checkpoint kept from before; again for each one")
	return cmd
}

func (a *app) verify(ctx context.Context, args []string, in verifying) error {
	var cut error // what the fetch already found
	dir := ""
	var nodes []api.Node
	if len(args) == 1 && in.nodes {
		return usage{"--nodes asks the server, and what gateways keep is newer than a folder", "mayfly audit verify --nodes"}
	}
	if len(args) == 1 {
		dir = args[0]
	} else {
		client, err := a.connect(ctx)
		if err != nil {
			return err
		}
		if in.nodes { // before the record is fetched, which then is no older
			all, err := client.Nodes(ctx)
			if err != nil {
				return err
			}
			nodes = all.Items
		}
		temp, err := os.MkdirTemp("", "mayfly-record-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		dir = temp
		if err := a.export(ctx, client, temp); err != nil {
			if !exported(temp) {
				return err
			}
			cut = err
		}
	}
	options, k, err := a.verifyOptions(dir, in)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Checkpoint != "" {
			options.Nodes = append(options.Nodes, audit.NodeNote{Node: n.Instance, Note: []byte(n.Checkpoint)})
		}
	}
	report, err := audit.Verify(dir, options)
	if err != nil {
		return err
	}
	if err := a.showReport(report, nodes); err != nil {
		return err
	}
	if cut != nil {
		return cut
	}
	if !report.OK() {
		return exit{exitError}
	}
	return a.keep(dir, options.Key, k)
}

// exported reports whether an export arrived, whatever is wrong with it.
func exported(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "checkpoint"))
	return err == nil
}

// verifyOptions gathers the key and every checkpoint to check against.
func (a *app) verifyOptions(dir string, in verifying) (audit.VerifyOptions, kept, error) {
	var out audit.VerifyOptions
	for _, path := range in.checkpoints {
		b, err := os.ReadFile(path)
		if err != nil {
			return out, kept{}, fmt.Errorf("--checkpoint: %w", err)
		}
		out.Kept = append(out.Kept, b)
	}
	k, pinned, err := a.keptFor(dir)
	if err != nil {
		return out, kept{}, err
	}
	out.Key = pinned
	if in.keyFile != "" {
		b, err := os.ReadFile(in.keyFile)
		if err != nil {
			return out, kept{}, fmt.Errorf("--key: %w", err)
		}
		out.Key = strings.TrimSpace(string(b))
		if _, err := audit.NewVerifier(out.Key); err != nil {
			return out, kept{}, usage{"--key: " + in.keyFile + " holds no key of a record", "the line that mayflyd init prints, and checkpoint.pub in its data_dir"}
		}
	}
	if k.dir != "" && out.Key == pinned {
		notes, err := k.notes()
		if err != nil {
			return out, kept{}, err
		}
		out.Kept = append(out.Kept, notes...)
	}
	return out, k, nil
}

// keptFor returns what is kept of the record that an export says it is, and the
// pinned key; nothing if it was never seen.
func (a *app) keptFor(dir string) (kept, string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return kept{}, "", nil // audit.Verify says so
	}
	k, err := a.keptOf(strings.TrimSpace(string(b)))
	if err != nil {
		return kept{}, "", nil
	}
	key, err := os.ReadFile(filepath.Join(k.dir, "key"))
	if absent(err) {
		return k, "", nil
	}
	return k, strings.TrimSpace(string(key)), err
}

// keep remembers the checkpoint of an export that was found whole.
func (a *app) keep(dir, key string, k kept) error {
	if key == "" || k.dir == "" {
		return nil
	}
	note, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	if err := k.add(key, note); err != nil {
		return err
	}
	return k.verified()
}

func (a *app) showReport(r audit.Report, nodes []api.Node) error {
	if a.isJSON() {
		return a.json(r)
	}
	a.showNodeReports(r.Nodes, nodes)
	for _, p := range r.Problems {
		fmt.Fprintln(a.c.Stdout, "WRONG", plain(p.String()))
	}
	for _, n := range r.Notes {
		fmt.Fprintln(a.c.Stdout, "note ", plain(n.String()))
	}
	for _, u := range r.Unchecked {
		fmt.Fprintln(a.c.Stdout, "not checked:", plain(u))
	}
	word := "The record holds"
	if !r.OK() {
		word = fmt.Sprintf("The record does NOT hold (%s)", count(len(r.Problems)+contradicting(r.Nodes), "problem"))
	}
	fmt.Fprintf(a.c.Stdout, "%s: %d entries, %d segments with %d frames, %d actions, checkpoint of size %d.\n",
		word, r.Leaves, r.Segments, r.Frames, r.Actions, r.Checkpoint.Size)
	if r.Observed > 0 {
		a.note("%s passed undecided, on apps in observe mode: OBSERVED, not enforced", count(r.Observed, "request"))
	}
	if !r.KeyGiven {
		a.note("nobody but the export itself vouches for its key: anybody can have signed it")
		a.hint("mayfly audit verify DIR --key FILE, with the key that mayflyd showed when it was set up")
	}
	return nil
}

// showNodeReports prints a line for each gateway, also for those that keep nothing.
func (a *app) showNodeReports(reports []audit.NodeReport, nodes []api.Node) {
	for _, n := range reports {
		line := fmt.Sprintf("%s keeps a checkpoint of %d entries, which the record continues", n.Node, n.Size)
		if n.Problem != "" {
			line = "WRONG " + n.Node + ": " + n.Problem
		}
		fmt.Fprintln(a.c.Stdout, plain(line))
	}
	for _, n := range nodes {
		switch {
		case n.Instance == "":
			fmt.Fprintln(a.c.Stdout, plain(n.Sidecar+" does not run: not asked"))
		case n.Checkpoint == "":
			fmt.Fprintln(a.c.Stdout, plain(n.Instance+" has not said what it keeps"))
		}
	}
}

func contradicting(nodes []audit.NodeReport) int {
	n := 0
	for _, one := range nodes {
		if one.Problem != "" {
			n++
		}
	}
	return n
}
