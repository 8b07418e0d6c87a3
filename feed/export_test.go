package feed

// LastShippersFirst returns the instances that are told changes, in the order in which they are.
func (s *Server) LastShippersFirst() []Instance {
	var out []Instance
	for _, st := range s.lastShippersFirst() {
		out = append(out, st.instance)
	}
	return out
}
