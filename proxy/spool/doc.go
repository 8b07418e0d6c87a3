// Package spool owns the sidecar's record on disk: one folder a process, held by
// a file lock, in which intents stand before the act and outcomes after it
// (contracts §5). It writes frames with group commit, keeps room for the outcome
// of every intent that it took, counts denials when there are too many, ships
// what is on disk, and closes on restart what a killed process left open.
//
// It does not decide, and does not know whom it ships to: Ship is a func. The
// form of records, frames and segments is package audit's.
package spool
