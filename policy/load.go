package policy

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Options are what Load needs besides the files.
type Options struct {
	// Catalogue returns the closed list of operations of a kind of app. Required.
	Catalogue func(kind string) (*scope.Catalogue, bool)
	// Credentialed reports whether apps of a kind are reached with a credential.
	// Nil: not checked.
	Credentialed func(kind string) bool
	// GroupSources are the names that group:<source>/… may begin with. Nil: not checked.
	GroupSources []string
	// ApproverKey names a key of people:, by its sort and text, the same however the
	// same key is written; an error says what is wrong with it. Nil: not checked.
	ApproverKey func(sort, text string) (name string, err error)
	// Commit is where the files are from, for Set.Commit.
	Commit string
	// Dev accepts plain http upstreams on a loopback address.
	Dev bool
	// InForce says that the files entered into force once. What only keeps a commit
	// from that is not asked again (see the rules of docs/policy.md): they decide as
	// they did, also under a Mayfly that has learned to refuse more.
	InForce bool
}

const (
	mainFile         = "mayfly.yaml"
	appsFolder       = "apps"
	entitlementsRoot = "entitlements"
	bundlesFolder    = "bundles"
	exceptionsFolder = "exceptions"
	personasFolder   = "personas"
)

// Load reads and checks a policy whole. Paths are slash paths relative to the
// policy folder. Its error is an Errors with everything that is wrong; no Set is
// returned then.
func Load(files map[string][]byte, o Options) (*Set, error) {
	if o.Catalogue == nil {
		return nil, errors.New("policy: Options.Catalogue is required")
	}
	l := &loader{o: o, set: newSet(files, o.Commit), nodeIDs: map[identity.Principal]bool{}, seenApps: map[string]*node{}, persons: map[string]bool{}, keyOf: map[string]identity.Person{}}
	l.addOwnApp()
	l.read(files)
	l.crossCheck()
	if len(l.errs) > 0 {
		l.errs.sort()
		return nil, l.errs
	}
	return l.set, nil
}

func newSet(files map[string][]byte, commit string) *Set {
	kept := make(map[string][]byte, len(files))
	for name, b := range files {
		kept[name] = slices.Clone(b)
	}
	return &Set{
		digest:       Digest(files),
		commit:       commit,
		files:        kept,
		apps:         map[string]App{},
		hosts:        map[string]string{},
		catalogues:   map[string]*scope.Catalogue{},
		entitlements: map[string]*Entitlement{},
		bundles:      map[string]Bundle{},
		exceptions:   map[string]Exception{},
		personas:     map[string]Persona{},
		excuses:      map[excuse]string{},
		people:       map[identity.Principal]identity.Person{},
		accounts:     map[string][]identity.Principal{},
		keys:         map[string][]ApproverKey{},
	}
}

// read reads mayfly.yaml first, then apps, entitlements, bundles, exceptions and personas:
// each needs the names of the ones before.
func (l *loader) read(files map[string][]byte) {
	if len(files) > maxFiles {
		l.failAt(0, 0, CodeFile, "the policy has %d files, want at most %d", len(files), maxFiles)
		return
	}
	byKind, folded := map[string][]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.file = name
		if other, twice := folded[strings.ToLower(name)]; twice && !l.o.InForce {
			l.failAt(0, 0, CodeDuplicate, "the name differs from %s by capitals only, and some file systems keep one of the two", other)
		}
		folded[strings.ToLower(name)] = name
		byKind[l.sort(name)] = append(byKind[l.sort(name)], name)
		if why := misplaced(name); why != "" {
			l.failAt(0, 0, CodeFile, "%s", why)
		}
	}
	if len(byKind[mainFile]) == 0 {
		l.file = mainFile
		l.failAt(0, 0, CodeFile, "the file is missing")
	}
	l.bundleFiles = byKind[bundlesFolder]
	for _, step := range []struct {
		kind string
		read func(*node)
	}{{mainFile, l.readMain}, {appsFolder, l.readApp}, {entitlementsRoot, l.readEntitlement}, {bundlesFolder, l.readBundle}, {exceptionsFolder, l.readException}, {personasFolder, l.readPersona}} {
		for _, name := range byKind[step.kind] {
			l.file = name
			n, err := parse(name, files[name])
			if err != nil {
				l.errs = append(l.errs, err)
				l.someApps = l.someApps || step.kind == appsFolder
				l.someEntitlements = l.someEntitlements || step.kind == entitlementsRoot || step.kind == bundlesFolder
				continue
			}
			step.read(n)
		}
	}
}

// sort says what noun a file holds, "" for none.
func (l *loader) sort(name string) string {
	switch {
	case name == mainFile:
		return mainFile
	case path.Ext(name) != ".yaml":
		return ""
	case path.Dir(name) == appsFolder:
		return appsFolder
	case strings.HasPrefix(name, entitlementsRoot+"/"):
		return entitlementsRoot
	case strings.HasPrefix(name, bundlesFolder+"/"):
		return bundlesFolder
	case path.Dir(name) == exceptionsFolder:
		return exceptionsFolder
	case path.Dir(name) == personasFolder:
		return personasFolder
	default:
		return ""
	}
}

// misplaced says why a file may not be where it is, "" if it may. Only prose and
// Git's own files may lie beside policy: a file in a misspelt folder must not be
// silently no policy.
func misplaced(name string) string {
	dir, base := path.Split(name)
	switch {
	case path.Clean(name) != name || strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".."):
		return "want a clean path relative to the policy folder"
	case path.Ext(base) == ".md", base == "CODEOWNERS", base == ".gitignore", base == ".gitattributes":
		return ""
	case path.Ext(base) == ".yml":
		return "want the ending .yaml"
	case path.Ext(base) != ".yaml":
		return "want .yaml files, or .md for prose"
	case name == mainFile, dir == appsFolder+"/", dir == exceptionsFolder+"/", dir == personasFolder+"/", strings.HasPrefix(dir, entitlementsRoot+"/"), strings.HasPrefix(dir, bundlesFolder+"/"):
		return ""
	default:
		return "want mayfly.yaml, apps/<name>.yaml, entitlements/<name>.yaml, bundles/<name>.yaml, exceptions/<name>.yaml or personas/<name>.yaml"
	}
}
