package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// maxPrepared bounds the statements that a session keeps: there are about a hundred
// texts, and as many more as there are lengths of lists.
const maxPrepared = 512

// session is one connection with the statements that were prepared on it: to parse a
// statement takes longer than to run it. One transaction at a time has it.
type session struct {
	db       *sql.DB
	begin    string // how its transactions begin
	conn     *sql.Conn
	prepares map[string]*sql.Stmt
}

// open takes a connection if there is none.
func (s *session) open(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	s.conn, s.prepares = conn, map[string]*sql.Stmt{}
	return nil
}

// close throws the connection away, with all that is on it. The next transaction opens
// another one.
func (s *session) close() {
	if s.conn == nil {
		return
	}
	s.forget()
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
	s.conn = nil
}

// prepared returns the statement of a text. It is not interrupted by ctx.
func (s *session) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.prepares[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, err
	}
	if len(s.prepares) >= maxPrepared {
		s.forget()
	}
	s.prepares[query] = stmt
	return stmt, nil
}

func (s *session) forget() {
	for _, stmt := range s.prepares {
		_ = stmt.Close()
	}
	clear(s.prepares)
}
