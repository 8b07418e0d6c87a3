package stripe

import (
	_ "embed" // the catalogue

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/scope"
)

//go:generate sh -c "go run ./internal/gen > catalogue.new && mv catalogue.new catalogue.txt"

//go:embed catalogue.txt
var catalogueText string

// Kind is the kind stripe. Make it with New.
type Kind struct {
	catalogue *scope.Catalogue
	routes    *route
}

// New reads the embedded catalogue. It fails only if that is broken.
func New() (*Kind, error) {
	ops, err := readCatalogue(catalogueText)
	if err != nil {
		return nil, err
	}
	k := &Kind{routes: &route{}}
	specs := make([]scope.Spec, 0, len(ops))
	for _, op := range ops {
		if err := k.routes.add(op); err != nil {
			return nil, err
		}
		specs = append(specs, op.spec)
	}
	k.catalogue, err = scope.NewCatalogue(specs)
	return k, err
}

// Name returns "stripe".
func (k *Kind) Name() string { return "stripe" }

// Catalogue returns Stripe's operations.
func (k *Kind) Catalogue() *scope.Catalogue { return k.catalogue }

// Needs asks for the body of every method that Stripe has, GET among them, whose
// body must be seen to be empty.
func (k *Kind) Needs(method string) app.Needs {
	switch method {
	case "GET", "POST", "DELETE":
		return app.NeedsBody
	default:
		return app.NeedsHeaders // refused for its method
	}
}
