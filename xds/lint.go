package xds

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// ErrLint is wrapped by every refusal of Lint.
var ErrLint = errors.New("refused by the configuration lint")

// Lint refuses a snapshot in which any request could reach an app without
// ext_authz, or more than the generator is meant to say. It trusts nothing of
// Build: every field that is set must be on the list of allowed fields
// (allowed.go), packed messages included, and the rules of rules.go hold for what
// is left. All findings are reported, each with its path.
func Lint(s *Snapshot) error {
	w := &walker{allowed: allowedFields()}
	w.snapshot(s)
	found := append(w.found, rules(s)...)
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n  %s", ErrLint, strings.Join(found, "\n  "))
}

// walker visits every set field of a message.
type walker struct {
	allowed fieldList
	found   []string
	seen    map[string]bool // fields that were set; nil: not kept
}

func (w *walker) snapshot(s *Snapshot) {
	for _, l := range s.Listeners {
		w.message("listener["+l.GetName()+"]", l)
	}
	for _, r := range s.Routes {
		w.message("route["+r.GetName()+"]", r)
	}
	for _, c := range s.Clusters {
		w.message("cluster["+c.GetName()+"]", c)
	}
}

func (w *walker) message(path string, m proto.Message) {
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			w.found = append(w.found, fmt.Sprintf("%s: cannot read %s", path, packed.GetTypeUrl()))
			return
		}
		w.message(path+"<"+string(inner.ProtoReflect().Descriptor().Name())+">", inner)
		return
	}
	r := m.ProtoReflect()
	if r.Descriptor().FullName().Parent() == "google.protobuf" {
		return // plain values: Duration, BoolValue, Struct …
	}
	if w.allowed[r.Descriptor().FullName()] == nil {
		w.found = append(w.found, fmt.Sprintf("%s: %s is not an allowed message", path, r.Descriptor().FullName()))
		return
	}
	if len(r.GetUnknown()) > 0 {
		w.found = append(w.found, path+": a field that this version does not know")
	}
	r.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		w.field(path+"."+string(f.Name()), f, v)
		return true
	})
}

func (w *walker) field(path string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	if w.seen != nil {
		w.seen[string(f.FullName())] = true
	}
	if !w.allowed[f.ContainingMessage().FullName()][f.Name()] {
		w.found = append(w.found, fmt.Sprintf("%s: %s is not an allowed field", path, f.FullName()))
		return
	}
	switch {
	case f.IsMap():
		if f.MapValue().Message() == nil {
			return
		}
		v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
			w.message(fmt.Sprintf("%s[%s]", path, k.String()), e.Message().Interface())
			return true
		})
	case f.Message() == nil:
	case f.IsList():
		for i := range v.List().Len() {
			w.message(fmt.Sprintf("%s[%d]", path, i), v.List().Get(i).Message().Interface())
		}
	default:
		w.message(path, v.Message().Interface())
	}
}
