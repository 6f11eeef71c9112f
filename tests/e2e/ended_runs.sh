#!/usr/bin/env bash
# Runs that end otherwise than their job would have it: a closed terminal, a runner that cannot start, a
# receipt that the plane does not take. Each has its exit code and leaves nothing waiting or running.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null

# state RUN: its status in the plane.
status() { writ --json runs >"$work/runs.json"; json "$work/runs.json" "[r['status'] for r in (d['runs'] if isinstance(d, dict) else d) if r['runId'] == '$1'][0]"; }
# begin COMMAND...: a run in the background whose job says "ready" and stays; $pid, $run.
begin() {
  mkfifo "$work/ready"
  # As a shell in a terminal starts it: whoever started this script may ignore SIGHUP.
  env --default-signal=HUP "$WRIT_BIN/writ" --dir "$state" run --repo "$repo" 'echo ready; sleep 600' \
    >"$work/ready" 2>"$work/err" &
  pid=$!
  background+=("$pid")
  exec 3<"$work/ready"
  read -r -u 3 line || { cat "$work/err"; fail "the job did not start"; }
  [ "$line" = ready ] || fail "the job said $line"
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
}
# ends CODE: waits for it and compares.
ends() {
  local got=0
  wait "$pid" || got=$?
  background=()
  exec 3<&-
  rm -f "$work/ready"
  [ "$got" = "$1" ] || { cat "$work/err"; fail "exit $got, $1 expected"; }
}

# A closed terminal cancels the run, as Ctrl-C does (4).
begin
kill -HUP "$pid"
ends 4
[ "$(status "$run")" = cancelled ] || fail "after SIGHUP the run is $(status "$run")"
writ receipt "$run" --json >"$work/receipt.json"
[ "$(json "$work/receipt.json" 'd["receipt"]["status"]')" = cancelled ] || fail "the receipt does not say cancelled"
[ "$(json "$work/receipt.json" 'd["verification"]["ok"]')" = True ] || fail "the receipt does not verify"

# The plane has something else where the runner's chain goes on: it cannot take the receipt. The command
# says so (1) and where the signed bundle is kept.
begin
python3 - "$state/plane/state.db" "$run" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
with db:
    db.execute("UPDATE events SET hash = ?, body = replace(body, 'run.claimed', 'run.cleared') "
               "WHERE run_id = ? AND seq = (SELECT max(seq) FROM events WHERE run_id = ?)",
               ("0" * 64, sys.argv[2], sys.argv[2]))
END
kill -INT "$pid"
ends 1
grep -q 'run.parked' "$work/err" || { cat "$work/err"; fail "it is not said that the receipt is parked"; }
name=$(sed -n "s/.*receipts export $run --name \([^ ]*\) .*/\1/p" "$work/err" | head -n 1)
writ runner receipts export "$run" --name "$name" --out "$work/parked.json" || fail "the bundle is not where the message says"
[ "$(json "$work/parked.json" 'd["receipt"]["runId"]')" = "$run" ] || fail "the exported bundle is of another run"

# Somebody who looks on may leave: the run goes on, and it is said how to end it.
begin
for signal in INT TERM; do
  mkfifo "$work/seen"
  "$WRIT_BIN/writ" --dir "$state" watch "$run" >"$work/seen" 2>"$work/watch.err" &
  watcher=$!
  background+=("$watcher")
  read -r line <"$work/seen"
  rm "$work/seen"
  [ "$line" = ready ] || fail "the watcher saw $line"
  kill -"$signal" "$watcher"
  got=0; wait "$watcher" || got=$?
  [ "$got" = $((128 + $(kill -l "$signal"))) ] || { cat "$work/watch.err"; fail "a watcher that left ended with $got"; }
  grep -q "the run goes on. Cancel it with: .*cancel $run" "$work/watch.err" || { cat "$work/watch.err"; fail "it is not said that the run goes on"; }
  [ "$(status "$run")" = running ] || fail "after the watcher left the run is $(status "$run")"
done
writ cancel "$run" >/dev/null
ends 4
[ "$(status "$run")" = cancelled ] || fail "after writ cancel the run is $(status "$run")"

# A runner that is killed: the next one closes its run, and nobody says of it that it printed nothing.
"$WRIT_BIN/writ" --dir "$state" run --repo "$repo" 'sleep 600' >/dev/null 2>"$work/err" &
pid=$!
background+=("$pid")
for _ in $(seq 1 400); do grep -q -- '-- running' "$work/err" && break; sleep 0.05; done
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
kill -KILL "$pid"
got=0; wait "$pid" || got=$?
[ "$got" = 137 ] || { cat "$work/err"; fail "exit $got, 137 expected of a killed one"; }
background=()
writ run --repo "$repo" true >/dev/null 2>"$work/err" || { cat "$work/err"; fail "the run after the killed one failed"; }
for _ in $(seq 1 100); do [ "$(status "$run")" = running ] || break; sleep 0.1; done
[ "$(status "$run")" = failed ] || fail "the killed run is $(status "$run")"
writ artifacts "$run" --log >"$work/log" 2>"$work/err"
grep -q 'its runner ended while it was in work' "$work/err" || { cat "$work/err"; fail "it is not said why there is no log"; }
writ run --repo "$repo" true >/dev/null 2>"$work/err"
writ artifacts "$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")" --log 2>&1 | grep -q 'it printed nothing' || fail "of a silent run it is not said that it printed nothing"

# Who watches a run of this directory whose process is gone ends it, with its receipt; who cancels it hears so.
for before in no yes; do
  begin
  if [ "$before" = yes ]; then
    "$WRIT_BIN/writ" --dir "$state" watch "$run" >/dev/null 2>"$work/watch.err" &
    watcher=$!
    background+=("$watcher")
    for _ in $(seq 1 400); do grep -q -- '-- running' "$work/watch.err" && break; sleep 0.05; done
  fi
  kill -KILL "$pid"
  got=0; wait "$pid" || got=$?
  exec 3<&-
  rm -f "$work/ready"
  if [ "$before" = no ]; then
    writ cancel "$run" >/dev/null 2>"$work/err"
    grep -q "end it with: .*watch $run" "$work/err" || { cat "$work/err"; fail "it is not said that its process is gone"; }
    "$WRIT_BIN/writ" --dir "$state" watch "$run" >/dev/null 2>"$work/watch.err" &
    watcher=$!
  fi
  got=0; wait "$watcher" || got=$?
  background=()
  [ "$got" = 1 ] || { cat "$work/watch.err"; fail "the watcher of a killed run ended with $got, 1 expected"; }
  grep -q 'session.interrupted' "$work/watch.err" || { cat "$work/watch.err"; fail "it is not said that the run was interrupted"; }
  writ receipt "$run" --json >"$work/receipt.json"
  [ "$(json "$work/receipt.json" 'd["verification"]["ok"]')" = True ] || fail "the receipt of a killed run does not verify"
done

# A secret whose source gives nothing: the run ends before a runner had it, and it is said where to look.
python3 - "$state/policy.json" <<'END'
import json, sys
policy = json.load(open(sys.argv[1]))
policy["secrets"] = {"releasable": [{"name": "TOKEN", "scope": "pool:default", "pools": ["default"]}]}
json.dump(policy, open(sys.argv[1], "w"))
END
writ secrets set TOKEN --from-command /bin/false >/dev/null
got=0; writ run --repo "$repo" --secret TOKEN true >/dev/null 2>"$work/err" || got=$?
[ "$got" = 1 ] || { cat "$work/err"; fail "exit $got, 1 expected of a run without its secret"; }
grep -q 'secret "TOKEN": .*\[run.secret_not_released\]' "$work/err" || { cat "$work/err"; fail "it is not said which secret"; }
grep -q 'hint: .*secrets list' "$work/err" || { cat "$work/err"; fail "a secret that is not there has no hint"; }

# A runner that cannot start: its run does not wait for the next one (1, cancelled).
echo '{"workDir": "/proc/nowhere"}' >"$state/runner.json"
got=0
writ run --repo "$repo" 'touch ran' >"$work/out" 2>"$work/err" || got=$?
[ "$got" = 1 ] || { cat "$work/err"; fail "exit $got, 1 expected of a runner that cannot start"; }
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
[ "$(status "$run")" = cancelled ] || fail "after the failed start the run is $(status "$run")"
writ --json run --repo "$repo" 'touch ran' >"$work/error.json" 2>/dev/null && fail "it started"
[ "$(status "$(json "$work/error.json" 'd["runId"]')")" = cancelled ] || fail "the error does not name the run as JSON"
rm "$state/runner.json"
writ run --repo "$repo" true >/dev/null 2>"$work/err" || { cat "$work/err"; fail "the next run did not work"; }
[ "$(status "$run")" = cancelled ] || fail "the next writ run took the cancelled one up"
echo "ended runs: as expected"
