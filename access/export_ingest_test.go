package access

// How long a segment waits for others, and how many records do not.
const (
	IngestLinger = ingestLinger
	IngestEnough = ingestEnough
)

// ArrivedSegments returns how many segments are being stored or wait for that.
func (s *Service) ArrivedSegments() int {
	s.arriving.mu.Lock()
	defer s.arriving.mu.Unlock()
	return len(s.arriving.waiting) + len(s.arriving.storing)
}
