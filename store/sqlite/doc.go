// Package sqlite keeps everything that mayflyd knows in one SQLite file: it is
// access.Store for a single mayflyd, which a file lock holds for the life of the
// process.
//
// It owns the rows, the migrations, the write order (one connection, BEGIN
// IMMEDIATE), durability (WAL, synchronous=FULL), the control plane's clock of
// contracts §1, and the triggers by which the database itself refuses a grant
// without an end (P1) and a changed record (P9). It does not own a rule, a verb
// or a state machine: access does. What every store must do is in storetest.
package sqlite
