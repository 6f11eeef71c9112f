#!/usr/bin/env bash
# exec, cp and attach into a machine's session, and the machine that stands still and goes on: each where it
# was granted, each in the receipt. L16 L18 L36 L37
. "$(dirname "$0")/../../examples/common.sh"
. "$(dirname "$0")/running_jobs.sh"
need_machines
make_repository
writ init >/dev/null
make_root bash cat stty sleep
writ image build --root "$work/root" --name default >/dev/null

events() { writ receipt "$run" --json >"$work/receipt.json"; json "$work/receipt.json" "[e for e in d['saw']['entered'] if e['type'] == '$1']${2:-}"; }

say "into a machine's session"
begin 'echo ready; until [ -e go ]; do sleep 0.1; done; cat from-outside' --isolation microvm --allow-access exec,copy,pause
expect 7 writ exec "$run" -- sh -c 'cat list.txt; echo err >&2; exit 7'
[ "$(cat "$work/out")" = "$(printf 'one\ntwo\nthree')" ] || fail "the command did not see the workspace"
[ "$(cat "$work/errors")" = err ] || fail "standard error is not its own"
expect 127 writ exec "$run" -- no-such-program
head -c 2000000 /dev/urandom >"$work/much"
writ exec "$run" -- cat <"$work/much" | cmp - "$work/much" || fail "not all went through, both ways at once"
expect 0 writ exec --tty "$run" -- stty size
grep -q '24 80' "$work/out" || { cat "$work/out"; fail "it has no terminal"; }
expect 0 writ cp "$run:list.txt" "$work/here"
cmp "$work/here" "$repo/list.txt" || fail "the file is another"
echo 'from outside' >"$work/from-outside"
expect 0 writ cp "$work/from-outside" "$run:from-outside"

say "the machine stands still, and goes on"
expect 1 writ resume "$run"
grep -q 'job.not_paused' "$work/errors" || { cat "$work/errors"; fail "a running one was resumed"; }
expect 0 writ pause "$run"
expect 1 writ pause "$run"
grep -q 'job.paused' "$work/errors" || { cat "$work/errors"; fail "a paused one was paused"; }
expect 125 writ exec "$run" -- true
grep -q 'writ resume' "$work/errors" || { cat "$work/errors"; fail "the mend is not named"; }
expect 0 writ --json resume "$run"
[ "$(json "$work/out" 'd["paused"]')" = False ] || fail "--json: $(cat "$work/out")"
expect 0 writ exec "$run" -- sh -c 'echo > go'
ends 0
[ "$(cat "$work/rest")" = "from outside" ] || { cat "$work/rest"; fail "the job's output is another"; }
[ "$(events session.paused '[0]["actor"]["kind"], d["verification"]["ok"]')" = "('human', True)" ] || fail "the pause is not in the receipt"
[ "$(events session.resumed '[0]["pausedMs"] > 0')" = True ] || fail "how long is not in the receipt"
[ "$(events session.left '[0]["exitCode"]')" = 7 ] || fail "the exit is not in the receipt"
writ receipt "$run" | grep -q 'paused by .*resumed by' || { writ receipt "$run"; fail "the screen does not show it"; }

say "a paused run is cancelled with its grace, and its job has a terminal"
begin 'trap "echo cleaned > cleaned; exit 3" TERM; test -t 0 || exit 1; echo ready; while :; do sleep 0.1; done' --isolation microvm --tty \
  --allow-access attach,input,pause
expect 0 writ pause "$run"
kill -INT "$pid"; ends 4
[ "$(events session.paused)" != "[]" ] || fail "the pause is not in the receipt"
[ "$(events session.resumed)" = "[]" ] || fail "a resume that nobody asked for is in the receipt"
writ receipt "$run" | grep -q 'ended while it stood still' || fail "the screen does not show it"
say "done"
