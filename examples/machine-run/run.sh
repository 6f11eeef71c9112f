#!/usr/bin/env bash
# A machine per run: a guest image is made twice with one digest, a job runs in it, changes files, reaches the one
# allowed host through a machine without a network card, and the receipt says which image and which monitor.
. "$(dirname "$0")/../common.sh"
need_machines
make_repository
writ init >/dev/null

say "without an image there is no machine, and the reason is said"
code=0; writ run --repo "$repo" --isolation microvm true >"$work/out" 2>&1 || code=$?
[ "$code" = 1 ] || fail "exit $code, 1 expected"
grep -q 'no guest image' "$work/out" || { cat "$work/out"; fail "the reason is not said"; }

say "a root file system of a few programs, and a guest image of it: the same inputs, the same digest"
make_root bash cat uname id
digest=$(writ image build --root "$work/root" --name default)
touch "$work/root/etc"
again=$(writ image build --root "$work/root" --name small)
[ "$digest" = "$again" ] || fail "$digest and $again from the same inputs"
writ image ls
writ image inspect small

# A server on this machine plays allowed.example.com.
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

say "a job in a machine of its own"
cat >"$work/job.sh" <<'JOB'
uname -r; id -u
ask() { exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$1" >&3; cat <&3; }
echo "allowed: $(ask "allowed.example.com:PORT")"
echo "denied: $(ask denied.example.com)"
(exec 4<>/dev/tcp/203.0.113.7/80) 2>/dev/null || echo "past the proxy: refused"
echo four >>list.txt
JOB
writ run --repo "$repo" --isolation microvm --image small --allow-host allowed.example.com \
  "$(sed "s/PORT/$port/" "$work/job.sh")" 2>"$work/log" >"$work/out" || { cat "$work/out" "$work/log"; fail "the run did not complete"; }
cat "$work/out" "$work/log"
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/log")
grep -q 'cloud-amd64' "$work/out" || fail "the job had another kernel"
[ "$(uname -r)" != "$(head -n 1 "$work/out")" ] || fail "the job had the host's kernel"
grep -q 'allowed: HTTP/1.1 200' "$work/out" || fail "the allowed host could not be reached"
grep -q 'hello from the allowed host' "$work/out" || fail "the allowed host's page did not come"
grep -q 'denied: HTTP/1.1 403' "$work/out" || fail "the denied host was not refused with 403"
grep -q 'past the proxy: refused' "$work/out" || fail "a connection past the proxy was not refused"

say "what it changed comes home, and the receipt says what it ran in"
writ receipt "$run"
writ receipt "$run" --json >"$work/receipt.json"
grep -q "$digest" "$work/receipt.json" || fail "the receipt lacks the image's digest"
grep -q '"microvm"' "$work/receipt.json" || fail "the receipt lacks the tier"
grep -Eq 'qemu [0-9.]+, (kvm|tcg)' "$work/receipt.json" || fail "the receipt lacks the monitor"
grep -q '"refusedConnections": 1,' "$work/receipt.json" || fail "the receipt does not count the connection past the proxy"
writ pull "$run" --repo "$repo"
[ "$(cat "$repo/list.txt")" = "$(printf 'one\ntwo\nthree\nfour')" ] || fail "the change did not come home"

say "what a machine cannot do is refused before one boots"
code=0; writ run --repo "$repo" --isolation microvm --io 1M true >"$work/out" 2>&1 || code=$?
[ "$code" = 1 ] && grep -q 'nothing on this host can hold' "$work/out" || { cat "$work/out"; fail "a rate for disks was taken"; }
code=0; writ run --repo "$repo" --isolation microvm --image missing true >"$work/out" 2>&1 || code=$?
[ "$code" = 1 ] && grep -q 'no guest image missing' "$work/out" || { cat "$work/out"; fail "another image was taken"; }
writ image rm small
echo "machine-run: as expected"
