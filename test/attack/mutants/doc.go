// Package mutants holds a patch for each defence, which takes it away. A test must
// then fail, or nothing would tell us when the defence is lost by accident.
// scripts/mutants.sh runs them; the tests here try that script on a small module
// with planted patches. README.md has the format.
package mutants
