#!/usr/bin/env bash
# Deny by default; one host allowed by policy and contract; the receipt tells both.
. "$(dirname "$0")/../common.sh"
make_repository
writ init >/dev/null

# A server on this machine plays allowed.example.com: the operator says so, and grants the loopback range, which
# is refused otherwise whatever a name resolves to, and the port, since a contract names hosts only.
mkdir "$work/www"; echo 'hello from the allowed host' >"$work/www/index.html"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/www" 0 >"$work/server.log" 2>&1 &
background+=($!)
for _ in $(seq 100); do grep -q 'port' "$work/server.log" && break; sleep 0.1; done
port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$work/server.log" | head -n 1)
python3 - "$state" "$port" <<'PY'
import json, sys
state, port = sys.argv[1:]
policy = json.load(open(state + "/policy.json"))
policy["network"] = {"defaultDeny": True, "allowHosts": ["allowed.example.com"]}
json.dump(policy, open(state + "/policy.json", "w"), indent=2)
json.dump({"hostOverrides": [{"name": "allowed.example.com", "addresses": ["127.0.0.1"]}],
           "addressGrants": ["127.0.0.0/8"], "allowHosts": ["allowed.example.com:" + port]}, open(state + "/runner.json", "w"), indent=2)
PY

say "what policy does not name is refused before anything runs"
code=0; writ run --repo "$repo" --allow-host evil.example.com 'true' || code=$?
[ "$code" = 3 ] || fail "exit $code, 3 expected"

say "allowed, denied, and past the proxy"
writ run --repo "$repo" --allow-host allowed.example.com "
  curl -sS --max-time 10 http://allowed.example.com:$port/ > page.txt; echo \"allowed: curl exit \$?\"
  curl -sS --max-time 10 -o /dev/null -w 'denied: status %{http_code}\n' http://denied.example.com/
  curl -sS --max-time 10 --noproxy '*' http://127.0.0.1:$port/ > /dev/null 2>&1; echo \"past the proxy: curl exit \$?\"
  cat page.txt" 2>"$work/log" >"$work/out" || { cat "$work/log"; fail "the run did not complete"; }
cat "$work/out"
cat "$work/log"
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")
grep -q 'allowed: curl exit 0' "$work/out" || fail "the allowed host could not be reached"
grep -q 'hello from the allowed host' "$work/out" || fail "the allowed host's page did not come"
grep -q 'denied: status 403' "$work/out" || fail "the denied host was not refused with 403"
grep -q 'past the proxy: curl exit 7' "$work/out" || fail "a connection past the proxy was not refused"
writ receipt "$run" --json >"$work/receipt.json"
writ receipt "$run"
accessed=$(json "$work/receipt.json" 'sorted((e["host"], e["decision"]) for e in d["receipt"]["networkAccessed"])')
case $accessed in *"'denied.example.com', 'blocked'"*) ;; *) fail "the receipt lacks the denied host: $accessed" ;; esac
case $accessed in *"'allowed.example.com', 'allowed'"*) ;; *) fail "the receipt lacks the allowed host: $accessed" ;; esac
echo "egress-policy: as expected"
