package proof

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/pjbgf/sha1cd"
)

// The types of git objects that prove a policy.
const (
	commitObject = "commit"
	treeObject   = "tree"
	blobObject   = "blob"
)

// MaxObject is the size of the largest object that is read, in bytes.
const MaxObject = 1 << 20

// Name returns the name of a git object of that type: the SHA-1 of its header and
// content. Content that was made to collide with another's is an error.
func Name(objectType string, content []byte) (string, error) {
	h, ok := sha1cd.New().(sha1cd.CollisionResistantHash)
	if !ok {
		return "", errors.New("no collision detection in this build")
	}
	if _, err := fmt.Fprintf(h, "%s %d\x00", objectType, len(content)); err != nil {
		return "", err
	}
	if _, err := h.Write(content); err != nil {
		return "", err
	}
	sum, collision := h.CollisionResistantSum(nil)
	if collision {
		return "", errors.New("it is made to collide with another object")
	}
	return hex.EncodeToString(sum), nil
}

// objects are contents by type and name. What a name leads to is what it names.
type objects map[string][]byte

func (o objects) add(objectType string, content []byte) (name string, err error) {
	if len(content) > MaxObject {
		return "", fmt.Errorf("a %s of %d bytes, want at most %d", objectType, len(content), MaxObject)
	}
	if name, err = Name(objectType, content); err != nil {
		return "", fmt.Errorf("%s: %w", objectType, err)
	}
	o[objectType+" "+name] = content
	return name, nil
}

func (o objects) get(objectType, name string) ([]byte, error) {
	b, ok := o[objectType+" "+name]
	if !ok {
		return nil, fmt.Errorf("the %s %s is not there", objectType, short(name))
	}
	return b, nil
}

func short(name string) string { return name[:min(len(name), 12)] }

// commit is what a proof reads of a commit object.
type commit struct {
	tree      string
	parents   []string
	signature string // armoured, "" for none
	payload   []byte // the content without the signature: what is signed
}

// readCommit reads the header of a commit: tree, parents, author, committer, and
// then others, of which one may be gpgsig. Anything else than git writes is an error.
func readCommit(content []byte) (commit, error) {
	var c commit
	header, message, ok := bytes.Cut(content, []byte("\n\n"))
	if !ok || bytes.IndexByte(header, 0) >= 0 {
		return c, errors.New("a commit without a message")
	}
	var kept []string
	signing := false
	order := 0
	for i, line := range strings.Split(string(header), "\n") {
		if more, folded := strings.CutPrefix(line, " "); folded {
			if i == 0 || order != 3 {
				return c, errors.New("a commit with a folded line out of place")
			}
			if signing {
				c.signature += more + "\n"
			} else {
				kept = append(kept, line)
			}
			continue
		}
		signing = false
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "tree" && order == 0 && isName(value):
			c.tree, order = value, 1
		case key == "parent" && order == 1 && isName(value):
			c.parents = append(c.parents, value)
		case key == "author" && order == 1:
			order = 2
		case key == "committer" && order == 2:
			order = 3
		case key == "gpgsig" && order == 3 && c.signature == "":
			signing, c.signature = true, value+"\n"
			continue
		case order != 3 || key == "tree" || key == "parent" || key == "author" || key == "committer" || strings.HasPrefix(key, "gpgsig"):
			return c, fmt.Errorf("a commit whose line %d is out of place", i+1)
		}
		kept = append(kept, line)
	}
	if order != 3 {
		return c, errors.New("a commit that is not whole")
	}
	c.payload = append([]byte(strings.Join(kept, "\n")+"\n\n"), message...)
	return c, nil
}

// isName reports whether s is the full name of an object, SHA-1 in lower case.
func isName(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 20 && strings.ToLower(s) == s
}

// entry is one line of a tree.
type entry struct {
	folder bool
	name   string // of the object
}

// readTree reads the folders and regular files of a tree. A name that is there
// twice could lead to either, and is an error.
func readTree(content []byte) (map[string]entry, error) {
	out := map[string]entry{}
	for len(content) > 0 {
		mode, rest, ok := bytes.Cut(content, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < 20 || len(name) == 0 || bytes.IndexByte(name, '/') >= 0 {
			return nil, errors.New("a tree that is malformed")
		}
		if _, twice := out[string(name)]; twice {
			return nil, fmt.Errorf("a tree with %q twice", name)
		}
		e := entry{folder: string(mode) == "40000", name: hex.EncodeToString(rest[:20])}
		if regular := string(mode) == "100644" || string(mode) == "100755"; !e.folder && !regular {
			e.name = "" // a link or another repository: never followed
		}
		out[string(name)] = e
		content = rest[20:]
	}
	return out, nil
}

// file returns the file at a path below a tree.
func (o objects) file(tree, path string) ([]byte, error) {
	first, rest, deeper := strings.Cut(path, "/")
	content, err := o.get(treeObject, tree)
	if err != nil {
		return nil, err
	}
	entries, err := readTree(content)
	if err != nil {
		return nil, err
	}
	e, ok := entries[first]
	if !ok || e.folder != deeper || e.name == "" {
		return nil, fmt.Errorf("no %s in the commit", path)
	}
	if deeper {
		return o.file(e.name, rest)
	}
	return o.get(blobObject, e.name)
}

// files returns the paths of the .yaml files below a folder whose content is there,
// with that content. A folder that is not there holds none.
func (o objects) files(tree, folder string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for rest := folder; rest != ""; {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		content, err := o.get(treeObject, tree)
		if err != nil {
			return nil, err
		}
		entries, err := readTree(content)
		if err != nil {
			return nil, err
		}
		if e := entries[first]; !e.folder {
			return out, nil
		} else {
			tree = e.name
		}
	}
	return out, o.walk(tree, "", 0, out)
}

func (o objects) walk(tree, dir string, depth int, out map[string][]byte) error {
	if depth > maxDepth {
		return errors.New("folders too deep")
	}
	content, err := o.get(treeObject, tree)
	if err != nil {
		return err
	}
	entries, err := readTree(content)
	if err != nil {
		return err
	}
	for name, e := range entries {
		switch {
		case e.folder:
			if err := o.walk(e.name, dir+name+"/", depth+1, out); err != nil {
				return err
			}
		case e.name != "" && strings.HasSuffix(name, ".yaml"):
			if b, ok := o[blobObject+" "+e.name]; ok {
				out[dir+name] = b
			}
		}
	}
	return nil
}
