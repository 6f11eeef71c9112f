#!/usr/bin/env bash
# The exit codes that `writ` documents (docs/operations.md), those that no example shows: 2, 4 and 6.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
expect() { # code, words that must be printed, command...
  local code=$1 words=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; fail "exit $got, $code expected: $*"; }
  grep -q -- "$words" "$work/out" || { cat "$work/out"; fail "'$words' is not said: $*"; }
}

expect 2 'cli.usage' writ --bogus runs
expect 2 '"code": "cli.usage"' writ --json run --bogus x
expect 2 'cli.no_task' writ run --repo "$repo"
expect 2 'workspace.not_a_repository' writ run --repo "$work" true
git init -q --bare "$work/bare"
expect 2 'workspace.bare' writ run --repo "$work/bare" true
expect 2 'file.open_failed' writ verify "$work/absent.json"
expect 1 'agent exited with code 3' writ run --repo "$repo" 'exit 3'
expect 1 'capability_mismatch' writ run --repo "$repo" --isolation microvm true
echo token >"$work/token"
expect 6 'plane.unreachable' writ runs --plane http://127.0.0.1:1 --token-file "$work/token"
expect 2 'plane.url_plain_http' writ runs --plane http://plane.example.com --token-file "$work/token"

# 4: cancelled before a runner came, and then watched.
writ run --repo "$repo" --no-watch true >"$work/run" 2>/dev/null
run=$(cat "$work/run")
expect 0 'cancelled' writ cancel "$run"
expect 4 'cancelled' writ watch "$run"
expect 2 'run.ended' writ cancel "$run"
echo "exit codes: as documented"
