package scope

import (
	"fmt"
	"strings"
)

// Operation is what one request would do (AuthZEN's action and resource). App
// kinds make it from a request; nothing else does. The zero value does nothing
// and no scope covers it.
type Operation struct {
	App        string
	Name       string // in the app's catalogue, such as refunds.create
	Resource   string // the object, as a person would name it; may be empty
	Class      Class  // the catalogue's
	Attributes Attributes
}

// Attributes are the typed facts of an operation, by name. A nil map is empty.
type Attributes map[string]Value

// String returns a line for people: app, name, resource.
func (o Operation) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", o.App, o.Name, o.Resource))
}
