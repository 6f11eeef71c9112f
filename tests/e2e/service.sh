#!/usr/bin/env bash
# Plane and runner as a service manager has them: what it is told on its socket, the watchdog that is
# fed while the loops turn, how each way of leaving ends, and that a real plane and a real runner
# offer, lease and cancel.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
# Uids of its own: jobs of other tests may signal everything that their uid can.
[ "$(id -u)" != 0 ] || echo '{"uidRange":{"first":233100,"count":8}}' >"$state/runner.json"

# told NAME: starts a socket that writes each message, its lines joined by '|', to $work/NAME.told.
told() {
  python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1])
with open(sys.argv[2], "w") as out:
    out.write("listening\n"); out.flush()
    while True:
        out.write(s.recv(4096).decode().replace("\n", "|") + "\n"); out.flush()' \
    "$work/$1.sock" "$work/$1.told" &
  background+=("$!")
  heard "$1" '^listening$'
}
# heard NAME PATTERN: waits until a message matches.
heard() {
  for _ in $(seq 1 400); do
    grep -q -- "$2" "$work/$1.told" 2>/dev/null && return 0
    sleep 0.05
  done
  cat "$work/$1.told" "$work/$1.err" 2>/dev/null || true
  fail "$1 never said $2"
}
# ends CODE: waits for $pid.
ends() {
  local got=0
  wait "$pid" || got=$?
  [ "$got" = "$1" ] || { cat "$work"/*.err; fail "exit $got, $1 expected"; }
}

told plane
NOTIFY_SOCKET=$work/plane.sock WATCHDOG_USEC=300000 "$WRIT_BIN/writ" --dir "$state" --json plane start --port 0 \
  >"$work/plane.json" 2>"$work/plane.err" &
plane_pid=$!
background+=("$plane_pid")
heard plane '^READY=1|STATUS=serving at http://127.0.0.1:'
heard plane '^WATCHDOG=1$'
url=$(json "$work/plane.json" 'd["url"]')
writ enroll-token --pool default --out "$work/token" >/dev/null
# In the background only: $! is the runner itself.
as_runner() { exec "$WRIT_BIN/writ" --dir "$state" runner start --pool default --plane "$url" --plane-key "$state/keys/plane.pub.pem" "$@"; }
writ principals add ci --role requester --out "$work/ci.token" >/dev/null
# asked NAME SCRIPT: a run asked for in the background; $run.
asked() {
  : >"$work/$1.err"; : >"$work/$1.out"
  "$WRIT_BIN/writ" --dir "$state" run --plane "$url" --token-file "$work/ci.token" --repo "$repo" "$2" >"$work/$1.out" 2>"$work/$1.err" &
  asker=$!
  background+=("$asker")
  for _ in $(seq 1 400); do
    run=$(sed -n 's/^run \(run_[A-Za-z0-9_-]*\)$/\1/p' "$work/$1.err" | head -n 1)
    [ -z "$run" ] || return 0
    sleep 0.05
  done
  cat "$work/$1.err"; fail "no run was made"
}
# said SIGNAL PATTERN: waits until the runner's terminal has it.
said() { for _ in $(seq 1 400); do grep -q -- "$2" "$work/runner.err" && return 0; sleep 0.05; done; cat "$work/runner.err"; fail "nothing was said of SIG$1"; }
started() { for _ in $(seq 1 600); do grep -q ready "$work/$1.out" && return 0; sleep 0.05; done; cat "$work"/*.err; fail "the job of $1 did not start"; }
status() { writ --json runs >"$work/runs.json"; json "$work/runs.json" "[r['status'] for r in (d['runs'] if isinstance(d, dict) else d) if r['runId'] == '$1'][0]"; }

# Nothing to do: idle, and gone with 0. The watchdog was fed, and the variables are the manager's own.
told idle
NOTIFY_SOCKET=$work/idle.sock WATCHDOG_USEC=200000 as_runner --enroll-token-file "$work/token" --exit-when-idle 1s 2>"$work/idle.err" >/dev/null &
pid=$!
ends 0
heard idle '^READY=1|STATUS=serving, 0 runs in work$'
heard idle '^WATCHDOG=1$'
heard idle '^STOPPING=1|STATUS=done$'

# One run, however many wait, and gone with 0.
asked once 'echo ready'
as_runner --max-runs 1 2>"$work/runner.err" >/dev/null &
pid=$!
ends 0
[ "$(status "$run")" = completed ] || fail "the run is $(status "$run")"

# SIGTERM: what runs is finished, nothing more is taken, 0.
asked drained 'echo ready; sleep 6'
first=$run
asked waiting 'true'
second=$run
told drain
NOTIFY_SOCKET=$work/drain.sock as_runner 2>"$work/drain.err" >/dev/null &
pid=$!
started drained
heard drain '^STATUS=serving, 1 runs in work$'
kill -TERM "$pid"
heard drain '^STOPPING=1|STATUS=draining$'
ends 0
[ "$(status "$first")" = completed ] || { cat "$work"/drain*.err; fail "the drained run is $(status "$first")"; }
[ "$(status "$second")" = created ] || fail "a draining runner took another run: $(status "$second")"
writ cancel "$second" >/dev/null

# A second SIGTERM, and SIGQUIT: cancelled with a receipt, 4.
for signals in 'TERM TERM' QUIT; do
  asked "cancelled" 'echo ready; sleep 600'
  as_runner 2>"$work/runner.err" >/dev/null &
  pid=$!
  started cancelled
  for signal in $signals; do
    kill "-$signal" "$pid"
    # A second one that comes while the first is pending would be the same one.
    said "$signal" 'draining\|cancelling what runs'
  done
  ends 4
  [ "$(status "$run")" = cancelled ] || fail "after $signals the run is $(status "$run")"
  writ bundle "$run" --out "$work/bundle.json" >/dev/null
  "$WRIT_BIN/writ-verify" "$work/bundle.json" >/dev/null || fail "the receipt does not verify"
done

# Cancelled at the plane: the job gets its signal, the receipt says who.
asked cancelled 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done'
as_runner --once 2>"$work/runner.err" >/dev/null &
pid=$!
started cancelled
writ cancel "$run" >/dev/null
ends 0
[ "$(status "$run")" = cancelled ] || fail "the cancelled run is $(status "$run")"

# usage: 2.
got=0; (as_runner --exit-when-idle soon) >/dev/null 2>&1 || got=$?
[ "$got" = 2 ] || fail "a bad duration ends with $got"
echo "service: ok"
