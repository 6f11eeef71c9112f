#!/usr/bin/env bash
# Three bad agents through whole runs, each read in its receipt and in the bundle: what one planted is a finding and runs nowhere,
# a secret in pieces is in no log, links that lead out carry nothing in.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
python3 - "$state/policy.json" <<'PY'
import json, sys
policy = json.load(open(sys.argv[1]))
policy["secrets"] = {"releasable": [{"name": "MOCK_SECRET", "scope": "pool:default", "pools": ["default"]}]}
json.dump(policy, open(sys.argv[1], "w"), indent=2)
PY
secret=0f1e2d3c4b5a69788796a5b4c3d2e1f0
printf %s "$secret" | writ secrets set MOCK_SECRET >/dev/null
# The agent comes with the checkout, as one that a repository carries would.
cp "$WRIT_BIN/writ-mock-agent" "$repo/agent"
git -C "$repo" add agent
git -C "$repo" -c user.name=example -c user.email=example@example.com commit -qm 'agent'

# misbehave CODE MODE OPTIONS...: a run of it that ends with the code; $run, $work/receipt.json, $work/bundle.json.
misbehave() {
  local code=$1 mode=$2 got=0
  shift 2
  writ run --repo "$repo" --agent argv "$@" -- ./agent --misbehave "$mode" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; fail "$mode: exit $got, $code expected"; }
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
  writ receipt "$run" >"$work/receipt"
  writ receipt "$run" --json >"$work/receipt.json"
  writ bundle "$run" --out "$work/bundle.json" >/dev/null
  [ "$(json "$work/receipt.json" 'd["verification"]["ok"]')" = True ] || fail "$mode: the receipt does not verify"
}
# finds CODE: the bundle has a finding of it.
finds() { grep -q "\"$1\"" "$work/bundle.json" || { cat "$work/receipt"; fail "no finding $1"; }; }
nothing_planted() {
  local found
  found=$(find "$work" -name 'planted*' -not -name '*.json')
  [ -z "$found" ] || fail "what was planted ran: $found"
}

misbehave 0 plant-git-config
finds workspace.git_config_changed
finds workspace.git_hook_planted
finds workspace.git_attributes_planted
nothing_planted
writ pull "$run" --repo "$repo" >"$work/out" 2>&1 || { cat "$work/out"; fail "not pulled"; }
nothing_planted
git -C "$repo" checkout -q .
git -C "$repo" clean -qfd

# The secret also stands in a file: the change stays here, and the receipt says why.
misbehave 3 secret-in-pieces --secret MOCK_SECRET
for form in 'first half' base64 hex; do
  grep -q "^$form: \[REDACTED:MOCK_SECRET\]" "$work/out" || { cat "$work/out"; fail "$form: not redacted"; }
done
[ "$(json "$work/receipt.json" 'd["receipt"]["status"]')" = failed ] || fail "the receipt does not say failed"
grep -q 'secret-in-a-file.txt' "$work/bundle.json" || fail "the receipt does not say where the secret stands"
python3 - "$secret" "$work" "$state" <<'PY' || fail "the secret is to be read"
import base64, pathlib, sys
secret = sys.argv[1].encode()
forms = [secret, base64.b64encode(secret), secret.hex().encode()]
bad = 0
for root in sys.argv[2:]:
    for path in pathlib.Path(root).rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            for form in forms:
                if form in text:
                    print("in", path)
                    bad = 1
sys.exit(bad)
PY

misbehave 0 symlink-escape
grep -q 'write through a link: refused' "$work/out" || { cat "$work/out"; fail "it wrote through its link"; }
writ pull "$run" --repo "$repo" >"$work/out" 2>&1 || { cat "$work/out"; fail "not pulled"; }
echo "misbehaving agents: as expected"
