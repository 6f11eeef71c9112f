#!/usr/bin/env bash
# An auditor gets one file and a public key, and needs neither plane nor network.
. "$(dirname "$0")/../common.sh"
make_repository
writ init >/dev/null
writ run --repo "$repo" 'echo proven >> list.txt' 2>"$work/log" || { cat "$work/log"; fail "the run did not end well"; }
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")
writ bundle "$run" --out "$work/bundle.json"
verify() { env -i "$WRIT_BIN/writ-verify" "$@"; }

say "without keys of one's own: the signatures hold, but the keys are only the bundle's word"
verify "$work/bundle.json"
verify "$work/bundle.json" --json >"$work/verdict.json"
[ "$(json "$work/verdict.json" 'd["pinned"]')" = False ] || fail "an unpinned verification must say so"

say "pinned: the keys come from the plane, not out of the bundle"
writ receipt "$run" --json >"$work/receipt.json"
runner=$(json "$work/receipt.json" 'd["saw"]["runner"]["runnerId"]')
writ runners
writ runners key "$runner" --out "$work/runner.pem"
pins=(--plane-key "$state/keys/plane.pub.pem" --runner-key "$work/runner.pem" --require-pinned)
verify "$work/bundle.json" "${pins[@]}"
verify "$work/bundle.json" "${pins[@]}" --json >"$work/verdict.json"
[ "$(json "$work/verdict.json" 'd["ok"] and d["pinned"]')" = True ] || fail "pinned keys must be said to be pinned"
find "$state/runner" -path '*/identity/runner.pub.pem' -exec cmp {} "$work/runner.pem" \; || fail "the runner's own folder has another key"
code=0; verify "$work/bundle.json" --plane-key "$state/keys/plane.pub.pem" --require-pinned >/dev/null || code=$?
[ "$code" = 1 ] || fail "half pinned: exit $code, 1 expected"

say "the lines of the receipt's screen do the same"
writ receipt "$run" >"$work/screen"
(cd "$work" && unset -f writ && PATH=$WRIT_BIN:$PATH && sed -n 's/^  \(bundle\|runner.s key\|verify\)  *\(writ.*\)$/\2/p' screen >commands && [ "$(wc -l <commands)" = 3 ] && . ./commands) ||
  fail "the commands on the receipt do not verify it"

say "tampered: the status, an event, a host"
python3 - "$work" <<'PY'
import json, sys
work = sys.argv[1]
def variant(name, change):
    bundle = json.load(open(work + "/bundle.json"))
    change(bundle)
    json.dump(bundle, open(f"{work}/{name}.json", "w"))
variant("status", lambda b: b["receipt"].__setitem__("status", "failed"))
variant("event", lambda b: b["events"].pop(3))
variant("host", lambda b: b["receipt"]["networkAccessed"].append({"host": "example.com", "decision": "blocked"}))
variant("prompt", lambda b: b["contract"]["task"].__setitem__("prompt", "something else"))
PY
for name in status event host prompt; do
  code=0; verify "$work/$name.json" >"$work/$name.txt" || code=$?
  [ "$code" = 1 ] || { cat "$work/$name.txt"; fail "tampered $name: exit $code, 1 expected"; }
  echo "tampered $name: refused"
done

say "a stranger's key, and no bundle at all"
openssl genpkey -algorithm ed25519 2>/dev/null | openssl pkey -pubout -out "$work/stranger.pem" 2>/dev/null
code=0; verify "$work/bundle.json" --plane-key "$work/stranger.pem" >/dev/null || code=$?
[ "$code" = 1 ] || fail "stranger's key: exit $code, 1 expected"
code=0; verify "$work/runner.pem" >/dev/null 2>&1 || code=$?
[ "$code" != 0 ] || fail "a file that is no bundle must be refused"
echo "offline-verify: as expected"
