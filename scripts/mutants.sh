#!/usr/bin/env bash
# Removes each defence that a patch in test/attack/mutants names, one at a time, in
# a copy of the checkout, and runs the test that the patch names: it must fail. A
# defence whose removal no test sees is a survivor, and fails this. So does a patch
# that no longer applies, that does not build, or whose test fails without it.
#
#   scripts/mutants.sh              all patches
#   scripts/mutants.sh NAME...      those whose file name contains one of the names
#   scripts/mutants.sh --check      only whether the patches are whole and apply
#
# MUTANTS_ROOT and MUTANTS_PATCHES take another module and folder. Two run at once.
set -euo pipefail

root=${MUTANTS_ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
patches=$(cd "${MUTANTS_PATCHES:-$root/test/attack/mutants}" && pwd)
limit=600 # seconds for one command

check=
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi

queue=()
for patch in "$patches"/*.patch; do
	[ -e "$patch" ] || continue
	[ $# = 0 ] && queue+=("$patch")
	for name in "$@"; do
		case "$(basename "$patch")" in *"$name"*) queue+=("$patch") && break ;; esac
	done
done
[ ${#queue[@]} -gt 0 ] || { echo "mutants.sh: no such patch in $patches" >&2; exit 2; }

# The copies are always in the same place: Go's cache then knows what it built there.
# A check needs none.
root=$(cd "$root" && pwd -P)
if [ -n "$check" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	ln -s "$root" "$work/0"
	ln -s "$root" "$work/1"
else
	mkdir -p "$root/.cache/mutants"
	work=$(cd "$root/.cache/mutants" && pwd -P)
	exec 9>"$work/lock"
	flock 9
	rm -rf "$work"/[01] "$work/notes"
fi
mkdir -p "$work/notes"

# git looks for no repository above a copy, nor above the root. What is missing is a
# failure here: a skipped test sees nothing.
export GIT_CEILING_DIRECTORIES=$work:$(dirname "$root") REQUIRE_ALL=1

header() { sed -n -e '/^\(diff \|--- \)/q' -e "s/^$1: *//p" "$2" | head -n 1; }

# incomplete says what a patch lacks.
incomplete() {
	[ -n "$(header Defence "$1")" ] || { echo "has no line Defence:"; return; }
	[ -n "$(header Test "$1")" ] || { echo "has no line Test:"; return; }
	grep -q '^+++ ' "$1" || { echo "changes nothing"; return; }
	! grep -q '^+++ .*_test\.go' "$1" || { echo "changes a test"; return; }
}

# copy makes the copy of a slot: the checkout as it is, and what make fetched into it.
copy() {
	mkdir "$work/$1"
	tar -C "$root" --exclude=./.git --exclude=./.cache --exclude=./bin -cf - . | tar -C "$work/$1" -xf -
	[ ! -e "$root/.cache" ] || ln -s "$(cd "$root/.cache" && pwd -P)" "$work/$1/.cache"
}

# run runs a command in a slot and writes what it said.
# What a test builds by itself, Go does not know of: nothing is taken from its cache.
run() { (export GOFLAGS="${GOFLAGS:-} -count=1" && cd "$work/$1" && timeout --kill-after=10 "$limit" bash -c "$2" >"$3" 2>&1 </dev/null 9>&-); }

# plain runs a patch's command without the patch, once for each command.
plain() {
	local mark
	mark=$work/notes/plain.$(printf %s "$2" | sha256sum | cut -c1-16)
	if [ ! -e "$mark" ]; then
		if run "$1" "$2" "$mark.log.$1"; then echo well >"$mark.$1"; else cp "$mark.log.$1" "$mark.$1"; fi
		mv "$mark.$1" "$mark"
	fi
	[ "$(cat "$mark")" = well ] || { tail -n 20 "$mark" >&2; return 1; }
}

# try says what becomes of one patch: a verdict, and who saw it.
try() {
	local slot=$1 patch=$2 log=$work/notes/log.$1 command status=0 why
	command=$(header Test "$patch")
	why=$(incomplete "$patch")
	[ -z "$why" ] || { echo "incomplete|$why"; return; }
	git -C "$work/$slot" apply --check "$patch" 2>"$log" || { echo "stale|$(head -n 1 "$log")"; return; }
	[ -z "$check" ] || { echo "applies|(not run)"; return; }
	plain "$slot" "$command" || { echo "unsound|its test fails without it"; return; }
	git -C "$work/$slot" apply "$patch"
	run "$slot" "$command" "$log" || status=$?
	git -C "$work/$slot" apply -R "$patch"
	case $status in
	0) echo "SURVIVOR|$command" ;;
	124 | 137) echo "hangs|over $limit s" ;;
	*)
		if grep -qE '\[(build|setup) failed\]' "$log"; then
			echo "no build|$(grep -m 1 -E '^[^ ]+\.go:[0-9]+' "$log")"
		elif grep -q -- '--- FAIL: ' "$log"; then
			echo "killed|$(sed -n 's/.*--- FAIL: \([^ ]*\).*/\1/p' "$log" | head -n 1)"
		elif grep -qE '^(panic: |FAIL)' "$log"; then
			echo "killed|$(grep -m 1 -E '^(panic: |FAIL)' "$log" | cut -c1-60)"
		else
			echo "no test|exit $status: $(tail -n 1 "$log")"
		fi
		;;
	esac
}

# slot does every second patch.
slot() {
	local i began
	[ -n "$check" ] || copy "$1"
	for ((i = $1; i < ${#queue[@]}; i += 2)); do
		began=$(date +%s)
		try "$1" "${queue[i]}" >"$work/notes/$i.new"
		echo "$(($(date +%s) - began))" >"$work/notes/$i.seconds"
		mv "$work/notes/$i.new" "$work/notes/$i"
	done
}

pids=()
for s in 0 1; do
	slot "$s" &
	pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || true; done # who left no verdict is told below
rm -rf "$work"/[01]

bad=0
printf '%-30s %-10s %5s  %-48s %s\n' patch verdict s "killed by" defence
for i in "${!queue[@]}"; do
	patch=${queue[i]}
	verdict="failed|the script did not end"
	[ ! -e "$work/notes/$i" ] || verdict=$(cat "$work/notes/$i")
	case $verdict in "killed|"* | "applies|"*) ;; *) bad=$((bad + 1)) ;; esac
	printf '%-30s %-10s %5s  %-48s %s\n' "$(basename "$patch" .patch)" "${verdict%%|*}" \
		"$(cat "$work/notes/$i.seconds" 2>/dev/null || echo -)" "${verdict#*|}" "$(header Defence "$patch")"
done
echo "${#queue[@]} patches, $bad not as they should be"
[ "$bad" = 0 ]
