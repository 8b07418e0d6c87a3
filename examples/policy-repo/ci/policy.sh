#!/bin/sh
# Checks and tests policy, and says what it would change. Ends with an error at the first
# that is not well. On a forge it marks each mistake at its line, if there is jq.
set -eu
cd "$(dirname "$0")/.."

if [ "${GITHUB_ACTIONS:-}" = true ] && command -v jq >/dev/null; then
	mayfly policy check policy -o json | jq -r '
		def mark(level): "::\(level) file=policy/\(.file),line=\([.line, 1] | max),col=\([.column, 1] | max)::\(.message | gsub("%"; "%25"))";
		(.mistakes[]? | mark("error")), (.warnings[]? | mark("warning"))' || true
fi

mayfly policy check policy
mayfly policy test policy

if [ -n "${MAYFLY_SERVER:-}" ]; then
	mayfly policy plan policy
else
	echo "MAYFLY_SERVER is not set: not compared with the policy in force"
fi
