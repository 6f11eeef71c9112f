#!/usr/bin/env bash
# checkpoint and fork: what a job in a machine has changed is kept while it runs, and new runs begin from it,
# each with a contract, secrets and a machine of its own. L4 L5 L15 L33
. "$(dirname "$0")/../../examples/common.sh"
. "$(dirname "$0")/running_jobs.sh"
need_machines
make_repository
writ init >/dev/null
make_root bash cat sleep sort seq ln mkfifo rm chmod mkdir sha256sum head ls mv stat
writ image build --root "$work/root" --name default >/dev/null

refused() { grep -q "$1" "$work/errors" || { cat "$work/errors"; fail "$1 is not what it says"; }; }

say "five checkpoints of a job that writes, removes and links all the while"
begin 'rm list.txt; mkdir -p d/e; head -c 300000 /dev/urandom > d/e/bytes; sha256sum d/e/bytes > sum; ln d/e/bytes other
  ln -s d/e link; mkfifo pipe; echo kept > .ignored; echo ".ignored" > .gitignore; chmod 750 d; echo ready
  n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n >> ticks; echo $n > t; mv t d/tick-$n; [ $n -lt 3 ] || rm d/tick-$((n-2)); sleep 0.05; done; echo at $n' \
  --isolation microvm --allow-access checkpoint,exec,pause
first=$run
for cycle in 1 2 3 4 5; do
  expect 0 writ exec "$run" -- sh -c "echo $cycle > cycle"
  expect 0 writ --json checkpoint "$run"
  [ "$(json "$work/out" 'd["entries"] > 10, d["bytes"] > 300000')" = "(True, True)" ] || { cat "$work/out"; fail "it is not all"; }
  ids[cycle]=$(json "$work/out" 'd["checkpointId"]')
done
[ "$(printf '%s\n' "${ids[@]}" | sort -u | wc -l)" = 5 ] || fail "checkpoints of another time are the same"
expect 0 writ pause "$run"
expect 1 writ checkpoint "$run"; refused job.paused
expect 0 writ resume "$run"

say "a fork of a run that goes on has that checkpoint's files, and no later ones"
check='set -e; sha256sum -c sum; [ ! -e list.txt ]; [ "$(cat cycle)" = WANTED ]; [ -p pipe ]; [ "$(cat .ignored)" = kept ]
  [ d/e/bytes -ef other ]; [ "$(stat -c %a d)" = 750 ]; [ "$(cat link/bytes | sha256sum)" = "$(cat other | sha256sum)" ]
  n=$(cat ticks | sort -n | { while read x; do y=$x; done; echo $y; }); [ "$(seq $n)" = "$(cat ticks)" ]; ls d > listed; echo whole'
expect 0 writ fork "$first" --checkpoint "${ids[3]:0:12}" "${check/WANTED/3}"
grep -q whole "$work/out" || { cat "$work/out" "$work/errors"; fail "the fork is not whole"; }
fork=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/errors" | head -1)
expect 0 writ exec "$first" -- sh -c 'echo > stop'
ends 0
grep -q '^at ' "$work/rest" || fail "the job did not go on"

say "and of one that has ended"
expect 0 writ fork "$first" "${check/WANTED/5}"
grep -q whole "$work/out" || { cat "$work/out" "$work/errors"; fail "the last one is not the default"; }

say "each is in its chain, and the chains verify offline"
writ bundle "$first" >"$work/first.json"; writ bundle "$fork" >"$work/fork.json"
"$WRIT_BIN/writ-verify" "$work/first.json" >/dev/null || fail "the bundle of the first run does not verify"
"$WRIT_BIN/writ-verify" "$work/fork.json" >/dev/null || fail "the bundle of the fork does not verify"
[ "$(json "$work/first.json" '[e["event"]["tier"] for e in d["events"] if e["event"]["type"] == "checkpoint.created"]')" = "['microvm-files', 'microvm-files', 'microvm-files', 'microvm-files', 'microvm-files']" ] || fail "the chain has other checkpoints"
[ "$(json "$work/fork.json" 'd["contract"]["continuation"]["checkpointId"]')" = "${ids[3]}" ] || fail "the fork's contract does not name it"
[ "$(json "$work/fork.json" "d['contract']['continuation']['envelopeHash']")" = "$(json "$work/first.json" "d['receipt']['contractHash']")" ] || fail "it names another run"
writ artifacts "$first" | grep -q "${ids[5]}" || fail "the checkpoint is not among what the run left"
writ receipt "$first" | grep -q "checkpoint ${ids[5]:0:8}" || { writ receipt "$first"; fail "the screen does not show it"; }
writ receipt "$fork" | grep -q 'checkpoint of another run' || { writ receipt "$fork"; fail "the screen does not show where it began"; }

say "what is refused"
expect 2 writ fork "$first" --checkpoint 0000; refused cli.no_checkpoint
expect 2 writ fork "$fork"; refused cli.no_checkpoint
begin 'echo ready; until [ -e go ]; do sleep 0.1; done' --isolation sandbox --allow-access checkpoint,exec
expect 1 writ checkpoint "$run"; refused access.no_checkpoint
expect 0 writ exec "$run" -- sh -c 'echo > go'
ends 0
# Its output is not shown either: it runs once there is a session to be asked for.
"$WRIT_BIN/writ" --dir "$state" run --repo "$repo" --isolation microvm --disclosure metadata-only --allow-access checkpoint 'sleep 600' >"$work/rest" 2>"$work/err" &
pid=$!; background+=("$pid")
until run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err"); [ -n "$run" ] && { writ checkpoint "$run" >/dev/null 2>"$work/errors" || ! grep -q 'no_such_run\|no_runner' "$work/errors"; }; do
  kill -0 "$pid" || fail "the run ended"; sleep 0.2
done
refused access.undisclosed
kill -INT "$pid"; wait "$pid" || true; background=()
begin 'echo ready; sleep 3' --isolation microvm --allow-access exec
expect 1 writ checkpoint "$run"; refused grants.session.checkpoint
ends 0

say "done"
