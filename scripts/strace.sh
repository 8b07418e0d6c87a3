#!/usr/bin/env bash
# Ensures that there is an strace for test/fault, which has it make syncs slow or
# fail: on PATH, else from Debian's own packages where this runs as root. Where it
# cannot be had this says so and ends well: those faults then print SKIP, and with
# REQUIRE_ALL=1 they fail. Called by `make tools`.
set -euo pipefail

if found=$(command -v strace); then
	echo "strace: $found"
	exit 0
fi

say() {
	echo "strace.sh: $*; faults that need it are skipped" >&2
	exit 0
}

command -v apt-get >/dev/null || say "no strace on PATH, and this is no Debian: install one"
[ "$(id -u)" = 0 ] || say "no strace on PATH: as root, apt-get install --no-install-recommends strace"

export DEBIAN_FRONTEND=noninteractive
apt-get update -q || say "apt-get update failed"
apt-get install -y -q --no-install-recommends strace || say "apt-get could not install strace"
echo "strace: $(command -v strace)"
