#!/usr/bin/env bash
# A plane whose disk is full says so, to its operator and to who asks from afar: store.full, with what to do about
# it, and 1; as soon as there is room everything is as before. 77: no small disk can be mounted here.
disk=4m
. "$(dirname "$0")/support/small_disk.sh"
fill() { dd if=/dev/zero of="$state/filler" bs=4096 status=none 2>/dev/null || true; }
free() { rm "$state/filler"; }
# full COMMAND...: ends with 1, the code and a hint.
full() {
  local got=0
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = 1 ] || { cat "$work/out"; fail "exit $got, 1 expected: $*"; }
  grep -q "$code" "$work/out" || { cat "$work/out"; fail "$code is not said: $*"; }
  grep -q '^hint: .*make room' "$work/out" || { cat "$work/out"; fail "no hint: $*"; }
}

say "no room for a state directory"
code='\[cli.dir_full\]'
fill
full writ init
[ "$(ls -A "$state")" = filler ] || { ls -AR "$state"; fail "something of it is left"; }
full "$WRIT_BIN/writ" --dir "$state/new/one" init
[ "$(ls -A "$state")" = filler ] || { ls -AR "$state"; fail "something of a new directory is left"; }
# With room for a part of it too; what was there before stays.
for pages in 1 2 3 4 5 6; do
  rm -rf "${state:?}"/*
  mkdir "$state/keys"
  fill
  truncate -s "-$((pages * 4096))" "$state/filler"
  got=0
  writ init >"$work/out" 2>&1 || got=$?
  [ "$got" != 0 ] || break
  [ "$(cd "$state" && find . | sort | tr '\n' ' ')" = '. ./filler ./keys ' ] ||
    { ls -AR "$state"; fail "a part of it is left, with room for $pages pages"; }
done
[ "$pages" -gt 1 ] || fail "a page has room for it all"
free

say "no room for the plane's store: nothing can be read either, which is said"
code='\[store.full\]'
rm -rf "${state:?}"/*
writ init >/dev/null
writ secrets set KEPT <<<"a value to keep" >/dev/null
fill
for command in runs "secrets list" "enroll-token --out $work/none" "principals list" "plane start --port 0" "policy show"; do
  # shellcheck disable=SC2086
  full writ $command
done
code='\[[a-z]*\.'
full writ run --repo "$repo" true
code='\[store.full\]'
[ ! -e "$work/none" ] || fail "a token file without a token is left"
"$WRIT_BIN/writ" --dir "$state" --json runs >"$work/out.json" 2>/dev/null && fail "it is no failure"
[ "$(json "$work/out.json" 'd["code"]')" = store.full ] || fail "the code is not in the JSON"
free

say "a plane at work whose disk fills up: who asks from afar is told, and served again when there is room"
writ principals add ci --role requester --out "$work/ci.token" >/dev/null
"$WRIT_BIN/writ" --dir "$state" --json plane start --port 0 >"$work/plane.json" 2>"$work/plane.err" &
plane=$!
background+=("$plane")
for _ in $(seq 1 400); do [ -s "$work/plane.json" ] && break; sleep 0.05; done
url=$(json "$work/plane.json" 'd["url"]')
ask() { "$WRIT_BIN/writ" --dir "$work/user" "$@" --plane "$url" --token-file "$work/ci.token"; }
ask run --repo "$repo" --no-watch true >/dev/null 2>&1 || fail "a run cannot be asked for"
fill
# Some writes find room in what the store has already; each takes of it.
for _ in $(seq 1 200); do ask run --repo "$repo" --no-watch true >"$work/out" 2>&1 || break; done
full ask run --repo "$repo" --no-watch true
ask runs >/dev/null || fail "a plane at work does not list its runs"
free
ask run --repo "$repo" --no-watch true >/dev/null 2>&1 || { cat "$work/plane.err"; fail "with room again it takes no run"; }
kill -TERM "$plane"
wait "$plane" || fail "the plane ended with $?"
background=()
writ secrets list | grep -q KEPT || fail "what was stored before is gone"
umount "$state"
echo "full plane disk: as expected"
