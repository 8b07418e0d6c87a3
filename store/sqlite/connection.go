package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// maxPrepared bounds the statements that a connection keeps: there are about a hundred
// texts, and as many more as there are lengths of lists.
const maxPrepared = 512

// connection is one of SQLite's, with the statements that were prepared on it: to parse a
// statement takes longer than to run it. One transaction at a time has it.
type connection struct {
	db       *sql.DB
	begin    string // how its transactions begin
	conn     *sql.Conn
	prepares map[string]*sql.Stmt
}

// open takes a connection if there is none.
func (c *connection) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	c.conn, c.prepares = conn, map[string]*sql.Stmt{}
	return nil
}

// close throws the connection away, with all that is on it. The next transaction opens
// another one.
func (c *connection) close() {
	if c.conn == nil {
		return
	}
	c.forget()
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.conn.Close()
	c.conn = nil
}

// prepared returns the statement of a text. It is not interrupted by ctx.
func (c *connection) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := c.prepares[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := c.conn.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, err
	}
	if len(c.prepares) >= maxPrepared {
		c.forget()
	}
	c.prepares[query] = stmt
	return stmt, nil
}

func (c *connection) forget() {
	for _, stmt := range c.prepares {
		_ = stmt.Close()
	}
	clear(c.prepares)
}
