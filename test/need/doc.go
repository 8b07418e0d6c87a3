// Package need says what a test needs beside Go, and where it is: a Chromium, a
// Node, the modules that test/npm pins. Where something is missing the test prints
// SKIP and why; with REQUIRE_ALL=1 that is a failure.
//
// It fetches nothing: `make tools` does.
package need
