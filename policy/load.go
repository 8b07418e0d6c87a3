package policy

import "github.com/mayflyproxy/mayfly/scope"

// Options are what Load needs besides the files.
type Options struct {
	// Catalogue returns the closed list of operations of a kind of app. Required.
	Catalogue func(kind string) (*scope.Catalogue, bool)
	// Credentialed reports whether apps of a kind are reached with a credential.
	// Nil: not checked.
	Credentialed func(kind string) bool
	// GroupSources are the names that group:<source>/… may begin with. Nil: not checked.
	GroupSources []string
	// Commit is where the files are from, for Set.Commit.
	Commit string
	// Dev accepts plain http upstreams on a loopback address.
	Dev bool
}

// Load reads and checks a policy whole. Paths are slash paths relative to the
// policy folder. Its error is an Errors with everything that is wrong; no Set is
// returned then.
func Load(files map[string][]byte, o Options) (*Set, error) {
	return nil, nil
}
