#!/usr/bin/env bash
# Machines that start from a snapshot: it is built once, two runs are clones of it with randomness of their own,
# the receipt says from what, and a snapshot that is not what was signed is not used - which the receipt says as well.
. "$(dirname "$0")/../common.sh"
need_machines
make_repository
writ init >/dev/null

say "a guest image of a few programs"
make_root bash cat
writ image build --root "$work/root" --name default

# started RUN: how its receipt says that its machine came to be.
started() {
  writ receipt "$1" --json >"$work/receipt.json"
  json "$work/receipt.json" "json.dumps(d['receipt']['runner']['environment']['machine'], sort_keys=True)"
}
# run_in_machine: a job that shows what its machine holds for random; $run, and its output in $work/out.
run_in_machine() {
  writ run --repo "$repo" --isolation microvm 'cat /proc/sys/kernel/random/uuid' \
    2>"$work/log" >"$work/out" || { cat "$work/out" "$work/log"; fail "the run did not complete"; }
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")
  cat "$work/out"
}

say "without a snapshot the machine boots"
run_in_machine
started "$run"
json "$work/receipt.json" "d['receipt']['runner']['environment']['machine']['started']" | grep -qx cold || fail "it did not boot"

say "a snapshot, and two runs from it"
snapshot=$(writ snapshot build default)
writ snapshot ls
run_in_machine; cp "$work/out" "$work/first"
started "$run"
json "$work/receipt.json" "d['receipt']['runner']['environment']['machine']['snapshot']" | grep -qx "$snapshot" || fail "it did not start from $snapshot"
run_in_machine
started "$run"
cmp -s "$work/first" "$work/out" && fail "two clones have the same randomness"
writ bundle "$run" --out "$work/bundle.json" >/dev/null
"$WRIT_BIN/writ-verify" "$work/bundle.json" >/dev/null || fail "the bundle does not verify"
writ snapshot verify "${snapshot#sha256:}"

say "one byte of its memory is another: no run starts from it, and the receipt says why"
memory=$state/snapshots/${snapshot/:/-}/memory
[ -f "$memory" ] || fail "there is no $memory"
mode=$(stat -c %a "$memory"); chmod u+w "$memory"
python3 - "$memory" <<'PY'
import os, sys
with open(sys.argv[1], "r+b") as f:
    data = os.lseek(f.fileno(), 0, os.SEEK_DATA)
    f.seek(data); byte = f.read(1)[0]
    f.seek(data); f.write(bytes([byte ^ 1]))
PY
chmod "$mode" "$memory"
code=0; writ snapshot verify "${snapshot#sha256:}" >"$work/out" 2>&1 || code=$?
[ "$code" = 1 ] || { cat "$work/out"; fail "exit $code, 1 expected of a damaged snapshot"; }
cat "$work/out"
run_in_machine
started "$run" | tee "$work/machine"
grep -q '"started": "cold"' "$work/machine" && grep -q notRestored "$work/machine" || fail "the receipt does not say why it booted"
echo "machine-snapshot: as expected"
