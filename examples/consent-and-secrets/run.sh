#!/usr/bin/env bash
# A policy that lets one secret out to one pool, after somebody said yes.
. "$(dirname "$0")/../common.sh"
make_repository
writ init >/dev/null
python3 - "$state/policy.json" <<'PY'
import json, sys
path = sys.argv[1]
policy = json.load(open(path))
policy["secrets"] = {"releasable": [{"name": "API_TOKEN", "scope": "pool:default", "pools": ["default"]}]}
policy["consent"] = [{"when": "secret-release", "approvers": ["alice"]}]
json.dump(policy, open(path, "w"), indent=2)
PY
writ policy check "$state/policy.json"
printf 'tok-5up3rs3cr3t-value' | writ secrets set API_TOKEN
writ secrets list

say "the run waits"
code=0
writ run --repo "$repo" --secret API_TOKEN 'echo "token is ${API_TOKEN}"; printf %s "$API_TOKEN" | wc -c > length.txt' 2>"$work/log" || code=$?
cat "$work/log"
[ "$code" = 5 ] || fail "exit $code, 5 (waiting for approval) expected"
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")

say "the wrong person, then the right one"
code=0; writ approve "$run" --as mallory || code=$?
[ "$code" != 0 ] || fail "mallory may not approve"
writ approve "$run" --as alice

say "now it runs"
writ watch "$run" | tee "$work/out"
grep -q '5up3rs3cr3t' "$work/out" && fail "the secret is in the live output"
writ receipt "$run"
writ bundle "$run" --out "$work/bundle.json"
grep -rq '5up3rs3cr3t' "$work/bundle.json" && fail "the secret is in the bundle"
writ pull "$run" --repo "$repo"
[ "$(tr -d ' \n' <"$repo/length.txt")" = 21 ] || fail "the job did not see the secret"
# Nowhere on disk either, sealed store included.
grep -rqa '5up3rs3cr3t' "$state" && fail "the secret is readable somewhere below the state directory"
echo "consent-and-secrets: as expected"
