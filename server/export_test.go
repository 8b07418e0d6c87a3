package server

// Patterns returns the routes of the public door.
func (s *Server) Patterns() []string { return s.public().patterns }
