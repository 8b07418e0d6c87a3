#!/usr/bin/env bash
# make demo: fetches what is missing, builds, runs the story, and prints the
# seconds of each phase. KEEP=1 leaves the product running until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f s", b - a }'; }

t=$(now)
go mod download
scripts/envoy.sh
make --no-print-directory stripe-mock
download=$(since "$t")

t=$(now)
mkdir -p bin
go build -o bin/ ./cmd/...
build=$(since "$t")

t=$(now)
status=0
bin/mayfly-dev demo --bin bin --envoy .cache/envoy/envoy --stripe-mock .cache/bin/stripe-mock ${KEEP:+--keep} || status=$?
echo
echo "download $download, build $build, run $(since "$t")"
exit $status
