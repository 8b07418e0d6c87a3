// Package cli owns the command mayfly: its flags, its tables and hints for
// people, its JSON for programs, its exit codes (contracts §8), and what it keeps
// on disk: the session of a person and the checkpoints that it has seen.
//
// It speaks to mayflyd through api.Client only and decides nothing. Which kinds
// of app there are is handed in; see Config.
package cli
