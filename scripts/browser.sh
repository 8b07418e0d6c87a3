#!/usr/bin/env bash
# Ensures that there is a Chromium for the tests of pages: on PATH, else from
# Debian's own packages where this runs as root. Where it cannot be had this says
# so and ends well: the tests then print SKIP, and with REQUIRE_ALL=1 they fail.
# Called by `make tools`.
set -euo pipefail

for name in "${MAYFLY_CHROMIUM:-chromium}" chromium-browser google-chrome-stable google-chrome; do
	if found=$(command -v "$name"); then
		echo "chromium: $found"
		exit 0
	fi
done

say() {
	echo "browser.sh: $*; tests of pages are skipped" >&2
	exit 0
}

command -v apt-get >/dev/null || say "no Chromium on PATH, and this is no Debian: install one"
[ "$(id -u)" = 0 ] || say "no Chromium on PATH: as root, apt-get install --no-install-recommends chromium fonts-dejavu-core"

export DEBIAN_FRONTEND=noninteractive
apt-get update -q || say "apt-get update failed"
apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core || say "apt-get could not install chromium"
echo "chromium: $(command -v chromium)"
