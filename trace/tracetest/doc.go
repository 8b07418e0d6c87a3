// Package tracetest is a collector in the test's own process: it takes OTLP over
// gRPC and over HTTP, keeps what it was sent, and holds it to what trace allows to
// leave. It answers as a test wants it to.
package tracetest
