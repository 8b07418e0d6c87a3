package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// writer numbers equal shapes once, in the order in which they first appear.
type writer struct {
	shapes  []string
	numbers map[string]int
}

func write(out *bytes.Buffer, ops []*operation) {
	w := &writer{numbers: map[string]int{}}
	var lines bytes.Buffer
	for _, op := range ops {
		fmt.Fprintf(&lines, "op\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", op.name, op.id, op.method, op.template, op.class,
			strings.Join(op.labelTexts(), " "), strings.Join(w.fieldTexts(op), " "), strings.Join(op.nestedTexts(), " "))
	}
	for i, shape := range w.shapes {
		fmt.Fprintf(out, "shape\t%d\t%s\n", i, shape)
	}
	out.Write(lines.Bytes())
}

// labelTexts are in the order of the template.
func (op *operation) labelTexts() []string {
	var out []string
	for _, segment := range strings.Split(op.template, "/") {
		label, ok := strings.CutPrefix(segment, "{")
		if !ok {
			continue
		}
		label = strings.TrimSuffix(label, "}")
		text := labelName(label, op.template)
		if labelRecordable(label) {
			text += "~"
		}
		out = append(out, text)
	}
	return out
}

func (w *writer) fieldTexts(op *operation) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(op.fields)) {
		f := op.fields[name]
		text := name + "=" + w.ref(f.node, false)
		if f.required {
			text += "!"
		}
		if f.recordable {
			text += "~"
		}
		out = append(out, text)
	}
	return out
}

func (op *operation) nestedTexts() []string {
	var out []string
	for _, name := range op.nested {
		letter := letterString
		if strings.HasSuffix(name, ".amount") {
			letter = letterMinor
		}
		out = append(out, fmt.Sprintf("%s=%c~", name, letter))
	}
	return out
}

// ref writes what a field may hold: a scalar letter, the number of a shape, or
// both. Below the first level every scalar is a plain string: nothing is decided
// on it.
func (w *writer) ref(n *node, below bool) string {
	composite := n.items != nil || n.values != nil || n.object
	var text string
	switch {
	case n.scalar == 0, n.scalar == letterUnset && composite: // every composite can be unset
	case below || n.scalar == letterUnset:
		text = string(rune(letterString))
	default:
		text = string(rune(n.scalar))
	}
	if !composite {
		return text
	}
	return text + fmt.Sprintf("#%d", w.number(n))
}

func (w *writer) number(n *node) int {
	var parts []string
	if n.items != nil {
		parts = append(parts, "[]="+w.ref(n.items, true))
	}
	if n.values != nil {
		parts = append(parts, "{}="+w.ref(n.values, true))
	}
	for _, name := range slices.Sorted(maps.Keys(n.fields)) {
		parts = append(parts, name+"="+w.ref(n.fields[name], true))
	}
	text := strings.Join(parts, " ")
	i, ok := w.numbers[text]
	if !ok {
		i = len(w.shapes)
		w.shapes, w.numbers[text] = append(w.shapes, text), i
	}
	return i
}
