#!/usr/bin/env bash
# What known_skips lets pass and what it does not.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export WRIT_KNOWN_SKIPS=$work/known
failed=0

# suite END [REASON...]: speaks as a gtest program does that skips one test for each reason.
cat >"$work/suite" <<'END'
#!/usr/bin/env bash
end=$1
shift
echo "[ RUN      ] Table/Hostile.Does/well"
echo "[       OK ] Table/Hostile.Does/well (3 ms)"
count=0
for reason in "$@"; do
  count=$((count + 1))
  printf '[ RUN      ] Table/Hostile.Does/%s\n../a_test.cc:41: Skipped\n%s\n\n[  SKIPPED ] Table/Hostile.Does/%s (0 ms)\n' "$count" "$reason" "$count"
done
echo "[  PASSED  ] 1 test."
[ "$count" = 0 ] || printf '[  SKIPPED ] %s tests, listed below:\n[  SKIPPED ] Table/Hostile.Does/1\n' "$count"
exit "$end"
END
chmod 755 "$work/suite"

# expect CODE WHAT: of known_skips with the arguments that follow.
expect() {
  local want=$1 what=$2
  shift 2
  "$here/known_skips" Some.Suite "$work/suite" "$@" >"$work/out" 2>&1
  local got=$?
  [ "$got" = "$want" ] && return
  echo "$what: exit $got instead of $want" >&2
  cat "$work/out" >&2
  failed=1
}

printf '# a comment\nSome.Suite 2 needs a moon\nAnother.Suite 9 needs a sun\n' >"$WRIT_KNOWN_SKIPS"
expect 0 "nothing skipped" 0
expect 0 "as many as known" 0 "needs a moon: there is none" "needs a moon"
expect 1 "one more" 0 "needs a moon" "needs a moon" "needs a moon"
grep -q 'not known to be skipped: Table/Hostile.Does/3' "$work/out" || { echo "it does not name what is one too many" >&2; failed=1; }
expect 1 "a reason of another suite" 0 "needs a sun"
expect 1 "no reason" 0 ""
expect 77 "a program that cannot run here" 77
expect 5 "a program that fails, whatever it skips" 5 "needs a sun"
# One that tells of fewer than it has skipped.
printf '#!/bin/sh\necho "[  SKIPPED ] 3 tests."\n' >"$work/suite"
expect 1 "skips that nothing is told of" 0
WRIT_MORE_SKIPS=1 expect 0 "a lesser host" 0
exit $failed
