#!/usr/bin/env bash
# Plane, runner and job share one small disk, as with `writ run` on a laptop: whoever fills it, the run ends in one
# receipt that verifies, nothing of it is left, and the next run has the room. 77: no small disk can be mounted here.
disk=40m
. "$(dirname "$0")/support/small_disk.sh"
writ init >/dev/null
echo '{"limits":{"minFreeDiskBytes":1048576}}' >"$state/runner.json"

# run_ends CODE TASK: with that code, one receipt that verifies, and no files.
run_ends() {
  local got=0 run
  writ run --agent command --repo "$repo" "$2" >"$work/out" 2>"$work/err" || got=$?
  [ "$got" = "$1" ] || { cat "$work/out" "$work/err"; fail "exit $got, $1 expected: $2"; }
  run=$(sed -n 's/^run \(run_[^ ]*\)$/\1/p' "$work/out" "$work/err" | head -1)
  writ bundle "$run" --out "$work/bundle.json" >/dev/null
  writ verify "$work/bundle.json" >/dev/null || fail "the receipt does not verify: $2"
  [ -z "$(ls "$state"/runner/*/work/sessions "$state"/runner/*/work/trash 2>/dev/null | grep -v ':$' | tr -d '\n')" ] ||
    { ls -R "$state/runner" | head -50; fail "files of the run are left: $2"; }
}

say "the job fills the disk"
for _ in 1 2; do
  run_ends 1 "dd if=/dev/zero of=big bs=1M count=100"
  grep -q '\[limit.disk\]' "$work/err" "$work/out" || { cat "$work/out" "$work/err"; fail "the limit is not named"; }
done

say "it fills the disk with what it prints, and what it may write is not bounded"
run_ends 0 "head -c 60000000 /dev/zero | tr '\\0' x"

say "somebody else fills it while the job runs, and makes room later"
rm "$work/err"
(
  wait_for() { for _ in $(seq 1 1200); do grep -q -- "$1" "$work/err" 2>/dev/null && return; sleep 0.05; done; }
  wait_for '-- running'
  dd if=/dev/zero of="$state/filler" bs=4096 status=none 2>/dev/null || true
  wait_for 'plane.retry'
  rm "$state/filler"
) &
filler=$!
run_ends 0 "sleep 3"
wait "$filler"
grep -q 'plane.retry.*store.full' "$work/err" || { cat "$work/err"; fail "it is not said why the run does not end"; }
say "and the next one has the room"
run_ends 0 "echo after >after.txt"
umount "$state"
echo "one full disk: as expected"
