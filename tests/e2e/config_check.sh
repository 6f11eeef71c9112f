#!/usr/bin/env bash
# `writ config check` says of a file what starting with it would say (L43): each is refused by both, with 2 and the
# same code, and what is taken by one is taken by the other.
. "$(dirname "$0")/../../examples/common.sh"
writ init >/dev/null
uids=""
[ "$(id -u)" != 0 ] || uids='"uidRange":{"first":235100,"count":3},'

code_of() { sed -n "s/^writ: .*\\[\\([a-z_.]*\\)\\]\$/\\1/p" "$1"; }
# told WORDS COMMAND...: ends with 2, a code and a hint; $code.
told() {
  local words=$1 got=0
  shift
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = 2 ] || { cat "$work/out"; fail "$words: exit $got, 2 expected"; }
  code=$(code_of "$work/out")
  [ -n "$code" ] && grep -q '^hint: ' "$work/out" || { cat "$work/out"; fail "$words: no code or no hint"; }
}
# refused WORDS MEMBERS: by check and by a start.
refused() {
  printf '{%s%s}\n' "$uids" "$2" >"$work/runner.json"
  told "check, $1" writ config check "$work/runner.json"
  local by_check=$code
  told "start, $1" timeout 60 "$WRIT_BIN/writ" --dir "$state" runner start --config "$work/runner.json" "${way[@]}"
  [ "$code" = "$by_check" ] || fail "$1: check says $by_check, start says $code"
}
way=(--plane http://127.0.0.1:9 --plane-key "$state/keys/plane.pub.pem")
key=$(sed ':a;N;$!ba;s/\n/\\n/g' "$state/keys/plane.pub.pem")

say "what a runner cannot be started with"
refused "an unknown tier" '"defaultIsolation":"nope"'
refused "an unknown least tier" '"minimumIsolation":"nope"'
refused "a range that is none" '"addressGrants":["x"]'
refused "a hook that is not there" '"hooks":{"before-run":{"path":"/nowhere/hook"}}'
refused "metrics for everybody" '"metrics":{"listen":"0.0.0.0:80"}'
refused "a host that is a URL" '"allowHosts":["https://example.com/"]'
refused "a default above the most" '"limits":{"defaultLogBytes":200,"maxLogBytes":100}'
refused "a relative folder" '"stateDir":"here"'
refused "a profile that is not allowed" '"syscalls":{"profile":"build","allow":["default"]}'
refused "a host that leads nowhere" '"hostOverrides":[{"name":"a.example","addresses":["x"]}]'
if [ "$(id -u)" = 0 ]; then
  own=$uids uids=""
  refused "too few uids" '"slots":2,"uidRange":{"first":235100,"count":2}'
  uids=$own
fi
way=()
refused "a plane of another kind" "\"plane\":{\"url\":\"ftp://plane.example.com\",\"keyPem\":\"$key\"}"
refused "a plane without its key" '"plane":{"url":"https://plane.example.com","keyPem":"x"}'

# Here alone: a start would make the folder before it is refused.
printf '{%s"stateDir":"/usr/lib/writ-state"}\n' "$uids" >"$work/runner.json"
told "a folder that jobs see" writ config check "$work/runner.json"
[ "$code" = runner.private_in_view ] || fail "a folder that jobs see is $code"

say "what it can be started with, also where the command line names the plane"
for members in '"slots":1' "\"plane\":{\"url\":\"https://plane.example.com\",\"keyPem\":\"$key\"}" '"defaultIsolation":"process"'; do
  printf '{%s}\n' "$members" >"$work/runner.json"
  writ config check "$work/runner.json" >/dev/null || fail "$members is refused"
done
printf '{"pool":"ci"}\n' >"$work/runner.json"
WRIT_RUNNER_DEFAULT_ISOLATION=nope told "the environment above it" writ config check "$work/runner.json"

say "the same of a plane's file"
configure() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); d["serve"]=json.loads(sys.argv[2]); json.dump(d, open(sys.argv[3], "w"))' "$work/config.json" "$1" "$state/config.json"; }
cp "$state/config.json" "$work/config.json"
for serve in '{"metrics":"0.0.0.0:80"}' '{"host":"0.0.0.0"}' '{"host":"no such host"}' '{"tlsCert":"/nowhere/cert","tlsKey":"/nowhere/key"}'; do
  configure "$serve"
  got=0
  timeout 60 "$WRIT_BIN/writ" --dir "$state" plane start --port 0 >"$work/out" 2>&1 || got=$?
  [ "$got" != 0 ] && [ "$got" != 124 ] || fail "a plane starts with $serve"
  by_start=$(code_of "$work/out")
  told "check, $serve" writ config check "$state/config.json"
  [ "$code" = "$by_start" ] || { cat "$work/out"; fail "$serve: check says $code, start says $by_start"; }
done
configure '{"port":0}'
writ config check "$state/config.json" >/dev/null || fail "a plane's good file is refused"
echo "config check: as expected"
