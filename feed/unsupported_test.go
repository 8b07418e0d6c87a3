package feed_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mayflyproxy/mayfly/feed"
)

// fill gives m one of each message that it can have, and so on down.
func fill(m protoreflect.Message) (all []protoreflect.Message) {
	all = append(all, m)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.Message() == nil || f.IsMap() || f.ContainingOneof() != nil:
		case f.IsList():
			all = append(all, fill(m.Mutable(f).List().AppendMutable().Message())...)
		default:
			all = append(all, fill(m.Mutable(f).Message())...)
		}
	}
	return all
}

// A field that this binary does not know may narrow a grant, wherever it stands.
func TestP2_AnUnknownFieldAnywhereInAGrantIsRefused(t *testing.T) {
	whole := &feed.Resource{Id: "g", Resource: &feed.Resource_Grant{Grant: &feed.Grant{}}}
	if n := len(fill(whole.GetGrant().ProtoReflect())); n != 6 {
		t.Errorf("a grant has %d kinds of message in it, want 6: does Unsupported look into the new one?", n)
	}
	if n := feed.Unsupported(whole, 1); n != nil {
		t.Fatalf("understood, and refused: %v", n)
	}
	for i := range 6 {
		r := proto.CloneOf(whole)
		r.GetGrant().Reset()
		m := fill(r.GetGrant().ProtoReflect())[i]
		m.SetUnknown([]byte{0xc0, 0x0c, 0x01})
		if n := feed.Unsupported(r, 1); n.GetId() != "g" || n.GetReason() != "unsupported_grant" {
			t.Errorf("a field of %s: %v", m.Descriptor().Name(), n)
		}
	}
}
