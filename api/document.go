package api

import (
	_ "embed"
	"slices"
)

//go:embed openapi.json
var document []byte

// Document returns the OpenAPI 3.0 document of the API, as JSON.
func Document() []byte { return slices.Clone(document) }
