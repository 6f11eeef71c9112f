#!/usr/bin/env bash
# What scripts/quickstart does once it has built, with the programs of this build: twice in one state
# directory, and on a repository of the user's.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
quickstart() { "$root/scripts/quickstart" --programs "$WRIT_BIN" --dir "$work/quick" "$@"; }

for time in first second; do
  say "the demonstration, the $time time"
  quickstart >"$work/$time.out" 2>&1 || { cat "$work/$time.out"; fail "it ended with $?"; }
  for said in 'fixing add()' 'blocked: example.com' 'VERIFIED, keys pinned' 'Where everything is'; do
    grep -q "$said" "$work/$time.out" || { cat "$work/$time.out"; fail "it does not say: $said"; }
  done
done

say "a repository of one's own, and a job that fails"
quickstart --repo "$repo" >"$work/own.out" 2>&1 || { cat "$work/own.out"; fail "it ended with $?"; }
grep -q 'WRIT_WAS_HERE.txt' "$work/own.out" || { cat "$work/own.out"; fail "the receipt does not name the change"; }
[ -z "$(git -C "$repo" status --porcelain)" ] || fail "the user's checkout was written to"
got=0; quickstart --repo "$repo" --task 'exit 3' >"$work/failing.out" 2>&1 || got=$?
[ "$got" = 1 ] && grep -q 'VERIFIED, keys pinned' "$work/failing.out" || { cat "$work/failing.out"; fail "exit $got"; }

say "what is not there"
got=0; quickstart --repo "$work/nowhere" >"$work/nowhere.out" 2>&1 || got=$?
[ "$got" = 2 ] && grep -q 'there is no folder' "$work/nowhere.out" || { cat "$work/nowhere.out"; fail "exit $got"; }
