#!/usr/bin/env bash
# Three machines in three directories: a plane behind TLS, a runner that enrols in it, and somebody who asks for
# runs with a token only; consent, what comes home, the record, and once more with a plane that demands client
# certificates. Nothing is left running.
. "$(dirname "$0")/../../examples/common.sh"
command -v openssl >/dev/null || { echo "no openssl here"; exit 77; }
make_repository
runner_home=$work/runner
user_home=$work/user
mkdir -m 711 "$runner_home"
mkdir -m 700 "$user_home"
on_runner() { "$WRIT_BIN/writ" --dir "$runner_home" "$@"; }

# A CA, a certificate for the plane and one for its clients.
certs=$work/certs
mkdir -m 700 "$certs"
printf 'subjectAltName=IP:127.0.0.1\n' >"$certs/ext"
openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=test-ca -keyout "$certs/ca.key" -out "$certs/ca.pem" 2>/dev/null
for name in plane client; do
  openssl req -newkey ed25519 -nodes -subj "/CN=$name" -keyout "$certs/$name.key" -out "$certs/$name.csr" 2>/dev/null
  openssl x509 -req -days 2 -in "$certs/$name.csr" -CA "$certs/ca.pem" -CAkey "$certs/ca.key" -CAcreateserial \
    -extfile "$certs/ext" -out "$certs/$name.pem" 2>/dev/null
done

# start_plane OPTIONS...: serves; $url, $plane.
start_plane() {
  local line text=
  mkfifo "$work/plane.out"
  "$WRIT_BIN/writ" --dir "$state" --json plane start --tls-cert "$certs/plane.pem" --tls-key "$certs/plane.key" "$@" \
    >"$work/plane.out" 2>"$work/plane.err" &
  plane=$!
  background+=("$plane")
  exec 3<"$work/plane.out"
  while read -r -t 60 -u 3 line; do
    text+=$line
    [ "$line" != "}" ] || break
  done
  rm "$work/plane.out"
  printf '%s' "$text" >"$work/plane.json"
  url=$(json "$work/plane.json" 'd["url"]') || { cat "$work/plane.err"; fail "the plane did not start"; }
}
# ended PID: it ends by itself, well.
ended() {
  local got=0
  wait "$1" || got=$?
  [ "$got" = 0 ] || { cat "$work/plane.err" "$work/runner.err"; fail "process $1 ended with $got"; }
}
stop_plane() {
  kill -TERM "$plane"
  ended "$plane"
  exec 3<&-
  background=()
}
# start_runner OPTIONS...: one run, then it leaves; $runner.
start_runner() {
  on_runner runner start --once --plane "$url" --plane-ca "$certs/ca.pem" --plane-key "$runner_home/plane.pub.pem" "$@" \
    >"$work/runner.out" 2>"$work/runner.err" &
  runner=$!
  background+=("$runner")
}
# far COMMAND TOKEN ARGUMENTS...: a command of somebody with a token, on a machine without a plane.
way=()
far() {
  local command=$1 token=$2
  shift 2
  "$WRIT_BIN/writ" --dir "$user_home" $command --plane "$url" --plane-ca "$certs/ca.pem" --token-file "$work/$token.token" \
    ${way[@]+"${way[@]}"} "$@"
}
# governed NAME: asked for, consented to, run, pulled, verified.
governed() {
  local code=0 run
  far run ci --repo "$repo" "echo '$1' >>list.txt" >"$work/out" 2>&1 || code=$?
  [ "$code" = 5 ] || { cat "$work/out"; fail "exit $code, 5 (waiting for approval) expected"; }
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
  code=0
  far approve ci "$run" >"$work/out" 2>&1 || code=$?
  [ "$code" = 3 ] || { cat "$work/out"; fail "a requester is no approver: exit $code, 3 expected"; }
  far approve lead "$run"
  far watch ci "$run" >"$work/out" 2>&1 || { cat "$work/out" "$work/runner.err"; fail "the run did not complete"; }
  ended "$runner"

  # The keys come from the plane and from the runner, not out of the bundle.
  far bundle ci "$run" --out "$work/bundle.json" >/dev/null
  "$WRIT_BIN/writ-verify" "$work/bundle.json" --plane-key "$state/keys/plane.pub.pem" \
    --runner-key "$work/runner.pub.pem" --require-pinned >"$work/out" || { cat "$work/out"; fail "not verified"; }
  if far pull ci "$run" --repo "$repo" --plane-key "$work/runner.pub.pem" >"$work/out" 2>&1; then
    fail "pulled what another plane's key is said to have made"
  fi
  grep -q 'pull.not_verified' "$work/out" || { cat "$work/out"; fail "it is not said why nothing is pulled"; }
  far pull ci "$run" --repo "$repo" --plane-key "$state/keys/plane.pub.pem" --runner-key "$work/runner.pub.pem" \
    >"$work/out" 2>&1 || { cat "$work/out"; fail "not pulled"; }
  if grep -q 'not pinned' "$work/out"; then cat "$work/out"; fail "keys were given"; fi
  [ "$(tail -n 1 "$repo/list.txt")" = "$1" ] || fail "the change did not come home"
  far pull ci "$run" --repo "$repo" >"$work/out" 2>&1 || { cat "$work/out"; fail "not pulled again"; }
  grep -q 'not pinned' "$work/out" || { cat "$work/out"; fail "no keys were given, and it is not said"; }
  git -C "$repo" -c user.name=example -c user.email=example@example.com commit -qam "$1"

  # The record of it, and the hash that the receipt names, made again from the contract.
  far export root >"$work/export.jsonl"
  grep -q "$run" "$work/export.jsonl" || fail "the export does not know the run"
  python3 - "$work/bundle.json" "$work/contract.json" <<'PY'
import json, sys
contract = json.load(open(sys.argv[1]))["contract"]
del contract["signatures"]
json.dump(contract, open(sys.argv[2], "w"))
PY
  [ "$(writ canonicalize "$work/contract.json" --hash)" = "$(json "$work/bundle.json" 'd["receipt"]["contractHash"]')" ] ||
    fail "the contract's hash is another one"
}

writ init >/dev/null
python3 - "$state/policy.json" <<'PY'
import json, sys
policy = json.load(open(sys.argv[1]))
policy["consent"] = [{"when": "any-run", "approvers": ["lead"]}]
json.dump(policy, open(sys.argv[1], "w"), indent=2)
PY
writ enroll-token --pool default --out "$work/enrol" >/dev/null
for who in ci:requester lead:approver root:admin; do
  writ principals add "${who%:*}" --role "${who#*:}" --out "$work/${who%:*}.token" >/dev/null
done
cp "$state/keys/plane.pub.pem" "$runner_home/plane.pub.pem" # by a way that the operator trusts

start_plane
start_runner --enroll-token-file "$work/enrol"
until [ -s "$work/runner.pub.pem" ]; do # the runner has enrolled
  kill -0 "$runner" 2>/dev/null || { cat "$work/runner.err"; fail "the runner has gone"; }
  writ --json runners >"$work/runners.json"
  json "$work/runners.json" '"".join(r["publicKeyPem"] for r in d["runners"])' >"$work/runner.pub.pem"
  [ -n "$(tr -d '\n' <"$work/runner.pub.pem")" ] || : >"$work/runner.pub.pem"
done
echo nonsense >"$work/wrong.token"
code=0
far runs wrong >"$work/out" 2>&1 || code=$?
[ "$code" = 3 ] && grep -q '^hint: ' "$work/out" || { cat "$work/out"; fail "a wrong token: exit $code, 3 and a hint expected"; }
governed four
stop_plane

start_plane --client-ca "$certs/ca.pem"
code=0
far runs ci >"$work/out" 2>&1 || code=$?
[ "$code" = 6 ] || { cat "$work/out"; fail "exit $code, 6 expected without a certificate"; }
code=0
far runs ci --client-cert "$certs/client.pem" >"$work/out" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q cli.half_tls "$work/out" || { cat "$work/out"; fail "half a certificate: exit $code"; }
way=(--client-cert "$certs/client.pem" --client-key "$certs/client.key")
start_runner "${way[@]}"
governed five
stop_plane

if left=$(pgrep -f -- "$work"); then ps -f -p $left; fail "something is left running"; fi
echo "two machines: as expected"
