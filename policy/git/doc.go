// Package git reads policy from a Git repository: which commit is the tip, the
// files of a commit, whether it descends from the one in force, and whether a
// listed signer signed it.
//
// It believes a repository nothing: every object that it uses is hashed again,
// with collision detection, so that a signature holds for what is read. It does
// not read or judge the files, which is policy's, and does not poll or keep what
// is in force, which is access's and mayflyd's.
package git
