#!/usr/bin/env bash
# A job on a dirty checkout: what it changes is proven by the receipt and comes back with pull.
. "$(dirname "$0")/../common.sh"
make_repository
echo 'four, not committed yet' >>"$repo/list.txt"
echo 'a note' >"$repo/notes.txt"
echo 'PASSWORD=hunter2' >"$repo/.env"

say "run"
writ init >/dev/null
writ run --repo "$repo" --allow-untracked notes.txt 'sort -r list.txt > sorted.txt; echo "lines: $(wc -l < list.txt)"; test ! -e .env' 2>"$work/log" |
  tee "$work/out" || { cat "$work/log"; fail "the run did not end well"; }
cat "$work/log"
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")
grep -q '^lines: 4$' "$work/out" || fail "the job did not see the uncommitted line"

say "receipt"
writ receipt "$run"
writ receipt "$run" --json >"$work/receipt.json"
[ "$(json "$work/receipt.json" 'd["verification"]["ok"]')" = True ] || fail "the receipt does not verify"
[ "$(json "$work/receipt.json" 'd["receipt"]["status"]')" = completed ] || fail "not completed"

say "pull, twice"
writ pull "$run" --repo "$repo"
[ "$(head -n 1 "$repo/sorted.txt")" = two ] || fail "the job's file did not come back"
grep -q 'four, not committed yet' "$repo/list.txt" || fail "uncommitted work was lost"
writ pull "$run" --repo "$repo"
grep -q hunter2 "$repo/.env" || fail "the untracked file was touched"
echo "governed-run: as expected"
