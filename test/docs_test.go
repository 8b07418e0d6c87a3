package test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/cli"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// root is the checkout, seen from here.
const root = ".."

// page is one Markdown file.
type page struct {
	name string // slash path from the root
	text string
}

// pages returns every Markdown file of the checkout.
func pages(t *testing.T) []page {
	t.Helper()
	var out []page
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache", "bin"}, name):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			out = append(out, readPage(t, name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found only %d pages", len(out))
	}
	return out
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return page{name, string(b)}
}

// block is a fenced part of a page.
type block struct {
	language string
	lines    []string
}

func (p page) blocks() []block {
	var out []block
	var open *block
	for line := range strings.Lines(p.text) {
		line = strings.TrimSuffix(line, "\n")
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{language: language}
		case fence:
			out, open = append(out, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return out
}

// prose is the page without its fenced parts.
func (p page) prose() string {
	var out strings.Builder
	inside := false
	for line := range strings.Lines(p.text) {
		if strings.HasPrefix(line, "```") {
			inside = !inside
		} else if !inside {
			out.WriteString(line)
		}
	}
	return out.String()
}

// table returns the cells of the table below a marker, without head and rule.
func (p page) table(t *testing.T, marker string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(p.text, "<!-- "+marker+" -->\n")
	if !ok {
		t.Fatalf("%s has no marker %q", p.name, marker)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("%s: the table below %q has no rows", p.name, marker)
	}
	return rows[2:]
}

func code() *regexp.Regexp { return regexp.MustCompile("`([^`]+)`") }

// names returns what stands in back quotes.
func names(cell string) []string {
	var out []string
	for _, m := range code().FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// column returns the names in one column.
func column(rows [][]string, i int) []string {
	var out []string
	for _, r := range rows {
		out = append(out, names(r[i])...)
	}
	return out
}

// sameNames holds a page's list to the code's, both ways.
func sameNames(t *testing.T, where string, documented, inCode []string) {
	t.Helper()
	for _, n := range inCode {
		if !slices.Contains(documented, n) {
			t.Errorf("%s does not name %q, which the code has", where, n)
		}
	}
	for i, n := range documented {
		if !slices.Contains(inCode, n) {
			t.Errorf("%s names %q, which the code does not have", where, n)
		}
		if slices.Contains(documented[:i], n) {
			t.Errorf("%s names %q twice", where, n)
		}
	}
	if len(inCode) == 0 {
		t.Errorf("%s: nothing was read from the code: this test would pass on anything", where)
	}
}

func TestDocsLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose(), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := p.name
			if file != "" {
				target = path.Join(path.Dir(p.name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", p.name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(readPage(t, target).anchors(), anchor) {
				t.Errorf("%s links to %s, and %s has no such heading", p.name, m[1], target)
			}
		}
	}
}

// anchors returns the page's headings as links spell them.
func (p page) anchors() []string {
	var out []string
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(p.prose()) {
		if head := strings.TrimLeft(line, "#"); head != line {
			text := drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(head)), "")
			out = append(out, strings.ReplaceAll(text, " ", "-"))
		}
	}
	return out
}

func TestDocsNameNobodysMachine(t *testing.T) {
	machine := regexp.MustCompile(`(?:^|[^\w.])/(?:home|root|Users|work|tmp)(?:/|\b)`)
	for _, p := range pages(t) {
		for i, line := range strings.Split(p.text, "\n") {
			if machine.MatchString(line) {
				t.Errorf("%s:%d names a path of one machine: %s", p.name, i+1, line)
			}
		}
	}
}

// TestDocsCommandsExist takes each command of an sh block apart.
func TestDocsCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, p := range pages(t) {
		for _, words := range p.commands() {
			switch words[0] {
			case "make":
				if !regexp.MustCompile(`(?m)^` + words[1] + `:`).Match(makefile) {
					t.Errorf("%s: there is no make target %s", p.name, words[1])
				}
			case "mayfly":
				checkMayfly(t, p.name, words[1:])
			case "mayflyd", "mayfly-sidecar":
				checkDaemon(t, p.name, words)
			case "git", "curl", "spire-server", "export", "head", "(printf", "ssh-keygen", "mkdir", "cat", "sed":
			default:
				t.Errorf("%s: %q is no command that a page may show", p.name, strings.Join(words, " "))
				continue
			}
			checked++
			if p.name == "README.md" && words[0] != "make" && words[0] != "mayfly" {
				t.Errorf("README.md shows %s: only make and mayfly are for a first reader", words[0])
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d commands were found", checked)
	}
}

// commands returns the words of each command in the page's sh blocks, without
// assignments in front, and without what a command is given to read.
func (p page) commands() [][]string {
	var out [][]string
	assignment := regexp.MustCompile(`^[A-Z_]+=`)
	for _, b := range p.blocks() {
		if b.language != "sh" {
			continue
		}
		text := strings.ReplaceAll(strings.Join(b.lines, "\n"), "\\\n", " ")
		until := ""
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if until != "" {
				if strings.TrimSpace(line) == until {
					until = ""
				}
				continue
			}
			if _, mark, ok := strings.Cut(line, "<<"); ok {
				until = strings.Trim(strings.TrimSpace(mark), "'")
			}
			for len(words) > 0 && assignment.MatchString(words[0]) {
				words = words[1:]
			}
			if len(words) > 0 {
				out = append(out, words)
			}
		}
	}
	return out
}

// mayflyHelp returns what mayfly says of itself.
func mayflyHelp(t *testing.T, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	exit := cli.Run(context.Background(), cli.Config{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Getenv:        func(string) string { return "" },
		UserConfigDir: func() (string, error) { return t.TempDir(), nil },
		Policy:        func() (policy.Options, error) { return policyOptions(t), nil },
	}, append(command, "--help"))
	if exit != 0 {
		t.Fatalf("mayfly %s --help ended with %d: %s", strings.Join(command, " "), exit, out.String())
	}
	return out.String()
}

func checkMayfly(t *testing.T, where string, words []string) {
	t.Helper()
	command := words[:1]
	if len(words) > 1 && (words[0] == "audit" || words[0] == "policy") {
		command = words[:2]
	}
	help := mayflyHelp(t, command...)
	if !strings.Contains(help, "mayfly "+strings.Join(command, " ")) {
		t.Errorf("%s: there is no command mayfly %s", where, strings.Join(command, " "))
		return
	}
	checkFlags(t, where, words, func(flag string) bool { return strings.Contains(help, flag+" ") || strings.Contains(help, flag+"[") })
}

func checkDaemon(t *testing.T, where string, words []string) {
	t.Helper()
	d := daemonOf(t, words[0])
	if len(words) > 1 && !strings.HasPrefix(words[1], "-") && !slices.Contains(d.commands, words[1]) {
		t.Errorf("%s: there is no command %s %s", where, words[0], words[1])
	}
	checkFlags(t, where, words, func(flag string) bool { return slices.Contains(d.flags, flag) })
}

func checkFlags(t *testing.T, where string, words []string, known func(string) bool) {
	t.Helper()
	for _, w := range words {
		if w == "--" { // what follows is another program's
			return
		}
		flag, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(flag, "--") && !known(flag) {
			t.Errorf("%s: %s has no flag %s", where, words[0], flag)
		}
	}
}

// policyOptions are those of a mayflyd with both kinds and one provider.
func policyOptions(t *testing.T) policy.Options {
	t.Helper()
	w, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := stripe.New()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]app.Kind{w.Name(): w, s.Name(): s}
	return policy.Options{
		Catalogue: func(kind string) (*scope.Catalogue, bool) {
			k, ok := kinds[kind]
			if !ok {
				return nil, false
			}
			return k.Catalogue(), true
		},
		Credentialed: func(kind string) bool { _, ok := kinds[kind].(app.Credentialed); return ok },
		GroupSources: []string{"idp"},
	}
}

// TestDocsPolicyIsOne loads the blocks of docs/policy.md that say which file they
// are, as one policy, and runs its tests.
func TestDocsPolicyIsOne(t *testing.T) {
	files := map[string][]byte{}
	for _, b := range readPage(t, "docs/policy.md").blocks() {
		if b.language != "yaml" {
			continue
		}
		name, ok := strings.CutPrefix(b.lines[0], "# policy/")
		if !ok {
			t.Errorf("a block of docs/policy.md does not say which file it is: %s", b.lines[0])
			continue
		}
		files[name] = []byte(strings.Join(b.lines, "\n") + "\n")
	}
	set, err := policy.Load(files, policyOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	results := policy.RunTests(set)
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s:%d: expected %s, got %s: %s", r.File, r.Line, r.Want, r.Got, r.Message)
		}
	}
	if len(results) < 5 {
		t.Errorf("only %d tests ran", len(results))
	}
}

// TestDocsWebAndStripe holds the tables of operations to the catalogues.
func TestDocsWebAndStripe(t *testing.T) {
	o := policyOptions(t)
	catalogue, _ := o.Catalogue("web")
	rows := readPage(t, "docs/apps/web.md").table(t, "words: web operations")
	var inCode []string
	for _, s := range catalogue.Specs() {
		inCode = append(inCode, s.Name)
	}
	sameNames(t, "docs/apps/web.md", column(rows, 0), inCode)
	checkOperations(t, catalogue, rows)
	catalogue, _ = o.Catalogue("stripe")
	checkOperations(t, catalogue, readPage(t, "docs/apps/stripe.md").table(t, "words: stripe examples"))
	if n := len(catalogue.Specs()); n != 594 {
		t.Errorf("the catalogue has %d operations: README.md, CHANGELOG.md and docs/apps/stripe.md say 594", n)
	}
}

func checkOperations(t *testing.T, c *scope.Catalogue, rows [][]string) {
	t.Helper()
	for _, r := range rows {
		name := names(r[0])[0]
		spec, ok := c.Lookup(name)
		if !ok || spec.Class.String() != r[1] {
			t.Errorf("%s is %s in the page, %s in the catalogue", name, r[1], spec.Class)
		}
		if len(r) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_.]+)` (\\w+)").FindAllStringSubmatch(r[2], -1) {
			if a, ok := spec.Attribute(m[1]); !ok || a.Type.String() != m[2] {
				t.Errorf("%s: attribute %s is %s in the page, %s in the catalogue", name, m[1], m[2], a.Type)
			}
		}
	}
}
