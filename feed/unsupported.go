package feed

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mayflyproxy/mayfly/grant"
)

// The kinds of resource, as Removal and Nack write them.
const (
	KindApp     = "app"
	KindGrant   = "grant"
	KindSession = "session"
	KindKey     = "key"
	KindProof   = "proof"
)

// KindOf returns the kind of r, "" for one that this binary does not know.
func KindOf(r *Resource) string {
	switch r.GetResource().(type) {
	case *Resource_App:
		return KindApp
	case *Resource_Grant:
		return KindGrant
	case *Resource_Session:
		return KindSession
	case *Resource_Key:
		return KindKey
	case *Resource_Proof:
		return KindProof
	default:
		return ""
	}
}

// Unsupported returns the refusal of a resource that a binary with this reader
// must not hold: it asks for a newer one, or carries anything that this binary
// does not know (contracts §3). Nil: nothing against it so far.
func Unsupported(r *Resource, reader uint32) *Nack {
	switch {
	case r.GetMinReader() > reader:
		return Refuse(r, grant.UnsupportedGrant, fmt.Sprintf("it needs reader %d, this is %d", r.GetMinReader(), reader))
	case KindOf(r) == "":
		return Refuse(r, grant.UnsupportedGrant, "a kind of resource that this binary does not know")
	case unknownInside(r):
		return Refuse(r, grant.UnsupportedGrant, "a field that this binary does not know")
	}
	return nil
}

// Refuse returns the Nack of r with a reason and words for operators.
func Refuse(r *Resource, reason grant.Reason, detail string) *Nack {
	return &Nack{Kind: KindOf(r), Id: r.GetId(), Reason: string(reason), Detail: detail}
}

// unknownAround reports whether a message that carries resources has, outside of
// them, a field that this binary does not have. What is inside is refused one by one.
func unknownAround(m interface {
	ProtoReflect() protoreflect.Message
	GetResources() []*Resource
}) bool {
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return true
	}
	d, ok := m.(*Delta)
	return ok && slices.ContainsFunc(d.GetRemovals(), func(r *Removal) bool { return unknown(r.ProtoReflect()) })
}

// unknownInside is unknown. Grants are many, and looked through by hand.
func unknownInside(r *Resource) bool {
	g := r.GetGrant()
	if g == nil {
		return unknown(r.ProtoReflect())
	}
	return len(r.unknownFields) > 0 || len(g.unknownFields) > 0 || slices.ContainsFunc(g.GetRules(), unknownInRule) ||
		slices.ContainsFunc(g.GetApprovals(), func(a *Approval) bool { return len(a.unknownFields) > 0 }) ||
		g.GetRecorded() != nil && len(g.Recorded.unknownFields) > 0
}

func unknownInRule(r *Rule) bool {
	return len(r.unknownFields) > 0 || slices.ContainsFunc(r.GetWhere(), func(c *Constraint) bool {
		return len(c.unknownFields) > 0 || slices.ContainsFunc(c.GetValues(), func(v *Value) bool { return len(v.unknownFields) > 0 })
	})
}

// unknown reports whether m, or any message in it, has a field that this
// binary's protobuf does not have.
func unknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		found = unknownIn(f, v)
		return !found
	})
	return found
}

func unknownIn(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch {
	case f.IsMap():
		if f.MapValue().Message() == nil {
			return false
		}
		found := false
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			found = unknown(v.Message())
			return !found
		})
		return found
	case f.Message() == nil:
		return false
	case f.IsList():
		for i := range v.List().Len() {
			if unknown(v.List().Get(i).Message()) {
				return true
			}
		}
		return false
	default:
		return unknown(v.Message())
	}
}
