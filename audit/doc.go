// Package audit owns the record: its canonical form (Record), the frames and
// segments in which a sidecar keeps and ships its part, the control plane's
// Merkle log with its signed checkpoints and tiles, the pin file that remembers
// the newest checkpoint outside the database, the pseudonyms under which persons
// appear, and Export and Verify, by which anybody re-checks all of it.
//
// It does not own storage (a store implements Storage), a transport (feed
// carries segments and checkpoints as bytes), the spool's files (proxy/spool),
// HTTP, or the meaning of a record for a request or a grant (access).
//
// The formats are those of contracts §5: RFC 8785 canonical JSON, an RFC 6962
// tree by golang.org/x/mod/sumdb/tlog, C2SP signed notes, checkpoints and tiles.
package audit
