#!/usr/bin/env bash
# A plane and a runner operated as docs/operations.md says: configured, started, enrolled, asked how they
# are, reloaded, backed up at work, drained, restarted, restored, and their receipts verified.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null

# until_ WORDS COMMAND...: polls, bounded.
until_() {
  local words=$1
  shift
  for _ in $(seq 1 400); do "$@" && return 0; sleep 0.05; done
  cat "$work"/*.err >&2 || true
  fail "$words"
}
said() { grep -q -- "$2" "$work/$1.err"; }
# refused CODE EXIT COMMAND...: fails with that code of ours, and exit.
refused() {
  local code=$1 wanted=$2 got=0
  shift 2
  "$@" >"$work/refused.out" 2>&1 || got=$?
  [ "$got" = "$wanted" ] || { cat "$work/refused.out"; fail "$* ended with $got, $wanted expected"; }
  grep -q "\\[$code\\]" "$work/refused.out" || { cat "$work/refused.out"; fail "$* does not say $code"; }
}
ends() {
  local got=0
  wait "$pid" || got=$?
  [ "$got" = "$1" ] || { cat "$work"/*.err; fail "exit $got, $1 expected"; }
}

say "configuration: flag, environment, file, default; what nobody knows is refused"
root_uids=""
[ "$(id -u)" != 0 ] || root_uids='"uidRange":{"first":233200,"count":3},'
configure() { printf '{%s"slots":2,"limits":{"processes":%s}%s}\n' "$root_uids" "$1" "${2:-}" >"$state/runner.json"; }
configure 300
setting() { # NAME [VARIABLE=VALUE...]: its effective value
  env "${@:2}" "$WRIT_BIN/writ" --dir "$state" --json config show runner --effective >"$work/config.json"
  json "$work/config.json" "[s['value'] for s in d['runner'] if s['setting'] == '$1'][0]"
}
[ "$(setting slots)" = 2 ] || { cat "$work/config.json"; fail "the file's slots are not in force"; }
[ "$(setting slots WRIT_RUNNER_SLOTS=3)" = 3 ] || fail "the environment is not above the file"
echo '{"slotz":2}' >"$work/wrong.json"
got=0; writ config check "$work/wrong.json" >"$work/wrong.out" 2>&1 || got=$?
[ "$got" = 2 ] && grep -q slotz "$work/wrong.out" || fail "an unknown setting is taken ($got)"

say "a plane"
"$WRIT_BIN/writ" --dir "$state" --json plane start --port 0 >"$work/plane.json" 2>"$work/plane.err" &
plane_pid=$!
background+=("$plane_pid")
until_ "the plane does not serve" test -s "$work/plane.json"
url=$(json "$work/plane.json" 'd["url"]')
port=${url##*:}
writ enroll-token --pool default --out "$work/token" >/dev/null
# A token that cannot be delivered is not made.
for command in "enroll-token --pool default" "principals add ci --role requester"; do
  # shellcheck disable=SC2086
  refused file.create_failed 2 writ $command --out "$work/token"
  grep -q '^hint: .*nothing is replaced' "$work/refused.out" || fail "no hint: $command"
  # shellcheck disable=SC2086
  refused path.open_failed 2 writ $command --out "$work/nowhere/token"
done
[ "$(wc -w <"$work/token")" = 1 ] || fail "the token of before is not whole"
writ principals add ci --role requester --out "$work/ci.token" >/dev/null
[ "$(stat -c %a-%s "$work/ci.token")" = "600-$(wc -c <"$work/ci.token")" ] && [ "$(wc -w <"$work/ci.token")" = 1 ] || fail "the token file is not one line for its owner"
# In the background only: $! is the runner itself.
runner() { exec "$WRIT_BIN/writ" --dir "$state" --log-level info runner start --pool default --plane "$url" --plane-key "$state/keys/plane.pub.pem" "$@"; }

say "a runner that is still enrolling ends by SIGTERM, with 0"
early() { exec "$WRIT_BIN/writ" --dir "$state" runner start --name early --pool default --plane http://127.0.0.1:9 "$@"; }
early --plane-key "$state/keys/plane.pub.pem" --enroll-token-file "$work/token" >"$work/early.out" 2>"$work/early.err" &
pid=$!
background+=("$pid")
until_ "the runner does not say that it enrols" said early "enrolling at http://127.0.0.1:9"
kill -TERM "$pid"
ends 0

say "one enrols and serves"
runner --enroll-token-file "$work/token" >"$work/runner.out" 2>"$work/runner.err" &
pid=$!
background+=("$pid")
serves() { writ --json runner status >"$work/status.json" 2>/dev/null; }
until_ "the runner does not serve" serves

say "uids: a range that a runner holds is refused to another"
if [ "$(id -u)" = 0 ]; then
  writ enroll-token --pool default --out "$work/token2" >/dev/null
  refused runner.uids_taken 1 writ runner start --name third --pool default --plane "$url" \
    --plane-key "$state/keys/plane.pub.pem" --enroll-token-file "$work/token2"
fi

say "a run, and its receipt"
ask() { "$WRIT_BIN/writ" --dir "$state" run --plane "$url" --token-file "$work/ci.token" --repo "$repo" "$@"; }
ask 'echo done >>list.txt' >"$work/first.out" 2>"$work/first.err" || { cat "$work/first.err"; fail "the run failed"; }
first=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/first.err")
processes_of() { # RUN: the limit of processes in its receipt
  writ --json receipt "$1" >"$work/receipt.json"
  json "$work/receipt.json" '[l["value"] for l in d["receipt"]["runner"]["environment"]["enforcement"]["resources"]["limits"] if l["limit"] == "processes"][0]'
}
[ "$(processes_of "$first")" = 300 ] || fail "the configured limit does not stand in the receipt"
writ bundle "$first" --out "$work/first.json" >/dev/null
"$WRIT_BIN/writ-verify" "$work/first.json" >/dev/null || fail "the receipt does not verify"

say "SIGHUP: limits for runs to come; what needs a restart is named in one line; what is wrong changes nothing"
configure 200 ',"longPollMs":1000'
kill -HUP "$pid"
until_ "the reload was not told" said runner 'runner.reloaded'
grep 'runner.reloaded' "$work/runner.err" | grep -q 'longPollMs' || fail "what needs a restart is not named"
ask 'true' >/dev/null 2>"$work/second.err"
[ "$(processes_of "$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/second.err")")" = 200 ] || fail "the reloaded limit is not in force"
echo '{"slots":' >"$state/runner.json"
kill -HUP "$pid"
until_ "the refused reload was not told" said runner 'runner.reload_refused'
[ "$(grep -c 'runner.reload_refused' "$work/runner.err")" = 1 ] || fail "a refused reload is more than one line"
configure 200

say "a backup while a run is in work"
# In the process tier the workspace is one plain tree, which can be written from here as well.
ask --isolation process 'echo ready; while ! [ -e "$PWD/go" ]; do sleep 0.1; done' >"$work/long.out" 2>"$work/long.err" &
asker=$!
background+=("$asker")
until_ "the long run did not start" grep -q ready "$work/long.out"
long=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/long.err")
serves || fail "a runner in work gives no status"
grep -q "$long" "$work/status.json" || { cat "$work/status.json"; fail "the status does not show the run in work"; }
writ backup --out "$work/backup.tar" >/dev/null || fail "no backup was made"

say "SIGTERM drains: no new run is taken, the one in work is finished"
kill -TERM "$pid"
until_ "the runner does not drain" said runner draining
ask --no-watch 'true' >"$work/queued.out" 2>/dev/null
queued=$(tail -n 1 "$work/queued.out")
tree=$(echo "$state"/runner/default/work/sessions/*/tree)
touch "$tree/go"
ends 0
background=("$plane_pid")
wait "$asker" || fail "the drained run failed"
state_of() { writ --json runs >"$work/runs.json"; json "$work/runs.json" "[r['status'] for r in (d['runs'] if isinstance(d, dict) else d) if r['runId'] == '$1'][0]"; }
[ "$(state_of "$long")" = completed ] || fail "the drained run is $(state_of "$long")"
[ "$(state_of "$queued")" = created ] || fail "a draining runner took a run"

say "plane and runner again: what was queued is done, no receipt waits"
kill -TERM "$plane_pid"
wait "$plane_pid" || fail "the plane ended with $?"
background=()
"$WRIT_BIN/writ" --dir "$state" plane start --port "$port" >/dev/null 2>"$work/plane2.err" &
plane_pid=$!
background+=("$plane_pid")
runner --exit-when-idle 5s >/dev/null 2>"$work/runner2.err" &
pid=$!
background+=("$pid")
ends 0
background=("$plane_pid")
[ "$(state_of "$queued")" = completed ] || { cat "$work/runner2.err"; fail "the queued run is $(state_of "$queued")"; }
writ --json runner receipts >"$work/kept.json"
! grep -q run_ "$work/kept.json" || { cat "$work/kept.json"; fail "a receipt waits"; }
kill -TERM "$plane_pid"
wait "$plane_pid" || fail "the plane ended with $?"
background=()

say "idle, and no plane has ever answered: that is no 0"
runner --exit-when-idle 1s >/dev/null 2>"$work/runner3.err" &
pid=$!
background+=("$pid")
ends 6
background=()
grep -q 'did not answer once.*plane.unreachable' "$work/runner3.err" || { cat "$work/runner3.err"; fail "it is not said why"; }

say "the backup, restored elsewhere: every receipt of its time verifies"
refused restore.not_empty 2 writ restore "$work/backup.tar"
"$WRIT_BIN/writ" --dir "$work/restored" restore "$work/backup.tar" >/dev/null || fail "the backup is not restored"
"$WRIT_BIN/writ" --dir "$work/restored" bundle "$first" --out "$work/again.json" >/dev/null
"$WRIT_BIN/writ-verify" "$work/again.json" >/dev/null || fail "a restored receipt does not verify"
cmp -s "$work/first.json" "$work/again.json" || fail "the restored bundle is another one"
[ -z "$(ls "$state"/runner/default/work/sessions 2>/dev/null)" ] || fail "sessions are left"
echo "operate: ok"
