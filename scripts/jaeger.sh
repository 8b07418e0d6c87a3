#!/usr/bin/env bash
# Builds Jaeger (Apache-2.0) into .cache/bin, for a test of examples/traces: three
# minutes of CPU and gigabytes of modules, so nothing calls this but whoever makes a
# release (make jaeger). It is a process beside ours, never linked.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.76.0
out=$PWD/.cache/bin/jaeger

if [ -x "$out" ] && grep -qs "^$version$" "$out.version"; then
	exit 0
fi
mkdir -p .cache/bin
# go install refuses a module with replace lines; building inside its source does not.
source=$(cd / && go mod download -json "github.com/jaegertracing/jaeger@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
(cd "$source" && go build -trimpath -o "$out.new" ./cmd/jaeger)
mv "$out.new" "$out"
echo "$version" >"$out.version"
