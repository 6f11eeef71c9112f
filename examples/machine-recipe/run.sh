#!/usr/bin/env bash
# A guest image from a recipe: each RUN is a run in a machine, under a contract, and its receipt is in the image. What
# was done is not done again, what is wrong is refused with its line before a machine boots, and the receipts verify.
. "$(dirname "$0")/../common.sh"
need_machines
make_repository
writ init >/dev/null

make_root bash cat id mkdir ln chmod rm
writ image import "$work/root" --name small >/dev/null

say "a recipe, and what it copies"
mkdir "$work/recipe"
printf '#!/bin/sh\necho "$GREETING, $(id -u) in $(pwd)"\n' >"$work/recipe/greet"
chmod +x "$work/recipe/greet"
cat >"$work/recipe/recipe" <<'RECIPE'
FROM small
ENV GREETING="hello there"
COPY greet /usr/local/bin/
WORKDIR /srv/made
RUN greet >said && cat said && ln -s said link && chmod 4755 /usr/bin/id && \
    rm /usr/bin/mkdir
USER 1000
RUN echo as another user; ! echo x >/srv/made/closed
RECIPE
cat "$work/recipe/recipe"
digest=$(writ image build -f "$work/recipe/recipe" --name made 2>"$work/log") || { cat "$work/log"; fail "the recipe was not built"; }
cat "$work/log"
grep -q '| hello there, 0 in /srv/made' "$work/log" || fail "the command did not run as it should"
[ "$(grep -c '^  run run_' "$work/log")" = 2 ] || fail "two runs were expected"

say "the same again: nothing runs, and the digest is the same"
again=$(writ image build -f "$work/recipe/recipe" --name made 2>"$work/log")
[ "$digest" = "$again" ] || fail "$digest and $again"
! grep -q '^  run run_' "$work/log" || { cat "$work/log"; fail "a step was done again"; }

say "where it comes from, and that it holds"
writ image inspect made | tee "$work/inspect.json"
grep -q '"command": "greet >said' "$work/inspect.json" || fail "the provenance is not shown"
run=$(json "$work/inspect.json" '[s["run"]["runId"] for s in d["provenance"]["steps"] if "run" in s][0]')
writ receipt "$run" --json >"$work/receipt.json"
writ runners key "$(json "$work/receipt.json" 'd["saw"]["runner"]["runnerId"]')" --out "$work/runner.pub.pem" >/dev/null
writ image verify made --plane-key "$state/keys/plane.pub.pem" --runner-key "$work/runner.pub.pem" | tee "$work/out"
grep -q '2 receipts hold' "$work/out" || fail "the receipts were not verified"
folder=$(json "$work/inspect.json" 'd["folder"]')
"$WRIT_BIN/writ-verify" "$folder"/receipt-5.json --plane-key "$state/keys/plane.pub.pem" --runner-key "$work/runner.pub.pem" \
  --require-pinned >/dev/null || fail "a receipt does not verify by itself"

say "a run in it"
writ run --repo "$repo" --isolation microvm --image made \
  'cat /srv/made/said /srv/made/link; [ ! -e /usr/bin/mkdir ] && echo gone; [ ! -u /usr/bin/id ] && echo no set-user-id' \
  2>"$work/log" >"$work/out" || { cat "$work/out" "$work/log"; fail "the run did not complete"; }
cat "$work/out"
[ "$(grep -c 'hello there, 0 in /srv/made' "$work/out")" = 2 ] && grep -q '^gone' "$work/out" && grep -q '^no set-user-id' "$work/out" ||
  fail "the image is not what the recipe says"

say "what is wrong is refused with its line, and no machine boots"
refuse() {
  printf '%s\n' 'FROM small' "$1" >"$work/recipe/wrong"
  code=0; writ image build -f "$work/recipe/wrong" >"$work/out" 2>&1 || code=$?
  cat "$work/out"
  [ "$code" = 2 ] && grep -q "line 2: .*$2" "$work/out" || fail "'$1' was not refused as it should be (exit $code)"
}
refuse 'COPY ../secret /srv/' 'outside of the recipe'
refuse 'COPY missing /srv/' 'there is no missing'
refuse 'ADD greet /srv/' 'there is no ADD'
ln -s /etc/passwd "$work/recipe/out"
refuse 'COPY out /srv/' 'out'

say "a step that fails ends the build, with what it said"
printf 'FROM small\nRUN echo no luck; exit 3\n' >"$work/recipe/failing"
code=0; writ image build -f "$work/recipe/failing" >"$work/out" 2>&1 || code=$?
cat "$work/out"
[ "$code" = 1 ] && grep -q 'line 2: .*no luck' "$work/out" || fail "the failing step was not told (exit $code)"

say "a receipt that was exchanged is found"
chmod u+w "$folder"/receipt-5.json; cp "$folder"/receipt-8.json "$folder"/receipt-5.json
code=0; writ image verify made >"$work/out" 2>&1 || code=$?
[ "$code" = 1 ] && grep -q 'damaged' "$work/out" || { cat "$work/out"; fail "the exchanged receipt was taken (exit $code)"; }
writ image gc
echo "machine-recipe: as expected"
