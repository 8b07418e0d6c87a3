#!/usr/bin/env bash
# Ensures the verifiers of tokens that are no modules of Node: jwcrypto from PyPI in
# .cache/interop, and from Debian's own packages, where this runs as root, latchset
# jose and Apache with mod_oauth2. Where one cannot be had this says so and ends
# well: its tests then print SKIP, and with REQUIRE_ALL=1 they fail. Called by
# `make tools`; quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

jwcrypto=1.6.1
venv=.cache/interop

say() { echo "interop.sh: $*; its tests are skipped" >&2; }

if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('jwcrypto') != '$jwcrypto')" 2>/dev/null; then
	{ python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "jwcrypto==$jwcrypto"; } ||
		say "pip could not install jwcrypto==$jwcrypto"
fi

missing=()
command -v jose >/dev/null || missing+=(jose)
command -v apache2 >/dev/null || [ -x /usr/sbin/apache2 ] || missing+=(apache2)
[ -e /usr/lib/apache2/modules/mod_oauth2.so ] || missing+=(libapache2-mod-oauth2)
if [ ${#missing[@]} -gt 0 ]; then
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		say "no ${missing[*]}: as root on Debian, apt-get install --no-install-recommends ${missing[*]}"
		exit 0
	fi
	# Nothing is started: the tests run an Apache of their own.
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
	{ apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } || say "apt-get could not install ${missing[*]}"
fi
echo "interop: jwcrypto in $venv, $(command -v jose || echo no jose), mod_oauth2 $(dpkg-query -W -f '${Version}' libapache2-mod-oauth2 2>/dev/null || echo none)"
