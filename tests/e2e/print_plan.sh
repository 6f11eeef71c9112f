#!/usr/bin/env bash
# `writ run --print-plan`: the plan of a run, without the run.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
plan() { writ run --repo "$repo" --print-plan "$@"; }
refused() { # code, words, command...
  local code=$1 words=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; fail "exit $got, $code expected: $*"; }
  grep -q -- "$words" "$work/out" || { cat "$work/out"; fail "'$words' is not said: $*"; }
}
writ runs >/dev/null  # the plane makes its folders when it is first opened
find "$state" | sort >"$work/before"

for tier in process sandbox; do
  plan --isolation "$tier" --memory 64M 'echo "$GREETING"' >"$work/plan.json"
  [ "$(json "$work/plan.json" 'd["session"]["tier"], d["backend"]["name"]')" = "('$tier', '$tier')" ] || fail "the tier"
  [ "$(json "$work/plan.json" 'd["launch"]["launch"]["argv"]')" = "['sh', '-c', 'echo \"\$GREETING\"']" ] || fail "the argv"
  [ "$(json "$work/plan.json" 'd["session"]["job"]["limits"]["memoryBytes"]')" = 67108864 ] || fail "the limit"
  [ "$(json "$work/plan.json" 'd["launch"]["launch"]["allowList"]["instructions"] > 50')" = True ] || fail "the filter"
done
[ "$(json "$work/plan.json" 'd["launch"]["launch"]["namespaces"]["view"][-1]["target"]')" = /workspace ] || fail "the view"
plan --json --isolation process true >"$work/plan.json"
[ "$(json "$work/plan.json" 'd["launch"]["launch"]["namespaces"]')" = None ] || fail "--json"

# The same plan each time, and nothing came of it: no run, no blob, no folder of a runner.
plan --isolation process true >"$work/one.json"
plan --isolation process true >"$work/two.json"
cmp "$work/one.json" "$work/two.json" || fail "two plans of one run differ"
writ runs --json >"$work/runs.json"
[ "$(json "$work/runs.json" 'len(d["runs"])')" = 0 ] || fail "a run was made"
find "$state" | grep -v -e '/capture' -e '-wal$' -e '-shm$' | sort >"$work/after"
grep -v -e '-wal$' -e '-shm$' "$work/before" | diff - "$work/after" || fail "something was made"

# What would be refused is refused here, with the reason and the mend.
refused 1 'no guest image\|no machine can be made' plan --isolation microvm true
refused 1 'plan.syscalls_not_granted' plan --syscalls none true
refused 1 'add.* to syscalls.allow' plan --syscalls none true
refused 2 'must be one of default, build, none' plan --syscalls strict true
refused 1 'give it at least' plan --isolation sandbox --memory 4M true
refused 1 'image import' plan --isolation sandbox --image no-such-image true
refused 2 'cli.plan_is_elsewhere' plan --plane https://plane.example.com --token-file /dev/null true
refused 2 'excludes' plan --dry-run true

# What the run then does is what was printed.
writ run --repo "$repo" --isolation process true >/dev/null 2>&1 || fail "the run"
writ runs --json >"$work/runs.json"
run=$(json "$work/runs.json" 'd["runs"][0]["runId"]')
writ receipt "$run" --json >"$work/receipt.json"
grep -q '"profile": *"default"' "$work/receipt.json" || { cat "$work/receipt.json"; fail "the receipt has no profile"; }
echo "plans: printed, and nothing came of them"
