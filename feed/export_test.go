package feed

// Busiest returns the instances that are told changes, in the order in which they are.
func (s *Server) Busiest() []Instance {
	var out []Instance
	for _, st := range s.busiest() {
		out = append(out, st.instance)
	}
	return out
}
