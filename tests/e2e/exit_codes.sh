#!/usr/bin/env bash
# The exit codes that `writ` documents (docs/operations.md), those that no example shows: 2, 3, 4 and 6; that an
# error has a sentence, a code and a hint; and the help of every command.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
expect() { # code, words that must be printed, command...
  local code=$1 words=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; fail "exit $got, $code expected: $*"; }
  grep -aq -- "$words" "$work/out" || { cat "$work/out"; fail "'$words' is not said: $*"; }
}

to_full_disk() { writ "$@" >/dev/full; }

expect 2 'cli.usage' writ --bogus runs
expect 2 '"code": "cli.usage"' writ --json run --bogus x
expect 2 "has no command 'bogus'" writ bogus
expect 2 "\`writ secrets\` has no command 'bogus'" writ secrets bogus
expect 2 'needs a command' writ policy
writ policy show --json >"$work/policy.json"
expect 2 'policy.wrapped' writ policy check "$work/policy.json"
writ policy show >"$work/policy.json" 2>/dev/null
expect 0 'can be enforced' writ policy check "$work/policy.json"
expect 1 'policy    refuses' writ policy explain --host api.example.com
expect 2 'host.numeric' writ policy explain --host 0x7f.1
python3 -c 'import json,sys; p=json.load(open(sys.argv[1])); p["network"]={"defaultDeny":True,"allowHosts":["*.co.uk","a.co.uk"]}; json.dump(p, sys.stdout)' "$work/policy.json" >"$work/wide.json"
expect 0 'lint.public_suffix' writ policy check "$work/wide.json"
expect 0 '"lint.shadowed"' writ --json policy check "$work/wide.json"
expect 0 'allowed' writ policy explain --host a.co.uk --policy "$work/wide.json"
expect 1 'address-class' writ policy explain --host a.co.uk --policy "$work/wide.json" --address 127.0.0.1
expect 2 'cli.empty_dir' "$WRIT_BIN/writ" --dir "" runs
expect 2 'cli.task_not_text' writ run --repo "$repo" "$(printf 'printf "\xff"')"
expect 2 'secret.args_without_command' writ secrets set UNUSED --from-env UNUSED --arg x
expect 2 'cli.usage' writ runs --limit -1
expect 2 'cli.usage' writ runs --limit 0
for name in ../../../x .. 'a b'; do
  expect 2 'runner.name' writ runner start --pool default --name "$name" --plane http://127.0.0.1:1 --plane-key "$state/keys/plane.pub.pem"
done
[ -z "$(ls -A "$state/runner" 2>/dev/null)" ] || fail "a runner whose name was refused has a folder"
expect 2 'writ secrets set --help' writ secrets set
expect 2 'list the runs with: writ' writ receipt run_none
expect 2 'plane.plain_http' writ plane start --host 0.0.0.0
expect 2 'cli.no_task' writ run --repo "$repo"
expect 2 'workspace.not_a_repository' writ run --repo "$work" true
git init -q --bare "$work/bare"
expect 2 'workspace.bare' writ run --repo "$work/bare" true
expect 2 'file.open_failed' writ verify "$work/absent.json"
expect 1 'agent exited with code 3' writ run --repo "$repo" 'exit 3'
expect 1 "not found on the job's PATH" writ run --repo "$repo" --agent argv -- no-such-program
# told CODE HINT COMMAND...: exit 2 with both.
told() {
  expect 2 "\\[$1\\]" "${@:3}"
  grep -aq -- "^hint: .*$2" "$work/out" || { cat "$work/out"; fail "the hint does not say '$2': ${*:3}"; }
}
# A failure has its code and its mend wherever it is told, also where another process ran the job.
expect 1 'capability_mismatch' writ run --repo "$repo" --isolation microvm true
refused=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
said=$(sed -n 's/^-- failed: .*\(\[[a-z_.]*\]\)$/\1/p; /^hint: /p' "$work/out")
[ "$(wc -l <<<"$said")" = 2 ] || { cat "$work/out"; fail "a refused run has no code or no hint"; }
expect 1 'capability_mismatch' writ watch "$refused"
[ "$(sed -n 's/^-- failed: .*\(\[[a-z_.]*\]\)$/\1/p; /^hint: /p' "$work/out")" = "$said" ] || { cat "$work/out"; fail "watch says otherwise"; }
expect 0 '^failure: capability_mismatch' writ receipt "$refused"
[ "$(sed -n 's/^failure: .*\(\[[a-z_.]*\]\)$/\1/p; /^hint: /p' "$work/out")" = "$said" ] || { cat "$work/out"; fail "the receipt says otherwise"; }
expect 1 '"failureMend"' writ --json watch "$refused"

told file.open_failed 'path is right' writ verify "$work/absent.json"
told file.open_failed 'path is right' writ canonicalize "$work/absent.json"
echo '{"a":1,}' >"$work/garbage.json"
told json.syntax 'strict JSON' writ canonicalize "$work/garbage.json"
told json.syntax 'strict JSON' writ policy check "$work/garbage.json"
told json.syntax 'config check' writ config check "$work/garbage.json"
echo '{"bogus":1}' >"$work/garbage.json"
told object.unknown 'config check' writ config check "$work/garbage.json"
expect 1 '\[policy.refused\]' writ policy check "$work/garbage.json"
grep -q '^hint: ' "$work/out" || fail "a refused policy has no hint"
for place in '^/bogus: .*\[object.unknown\]' '^/version: .*\[object.missing\]' '^/retention: .*\[object.missing\]'; do
  grep -q "$place" "$work/out" || { cat "$work/out"; fail "a place that is wrong is not told: $place"; }
done
! grep -q 'refused:' "$work/out" || { cat "$work/out"; fail "it is said twice that the policy is refused"; }
expect 1 '"problems"' writ --json policy check "$work/garbage.json"
[ "$(json "$work/out" '"/bogus object.unknown" in [p["pointer"] + " " + p["code"] for p in d["problems"]]')" = True ] ||
  { cat "$work/out"; fail "the problems have no places"; }

# A secret that no job can be given is refused when it is set.
set_secret() { printf "$1" | writ secrets set "${@:2}"; }
for name in PATH LD_PRELOAD HTTP_PROXY WRIT_X; do
  told secret.reserved_name 'another name' set_secret 'a long value' "$name"
  told secret.reserved_name 'another name' writ secrets set "$name" --from-env X
done
told secret.too_short 'longer value' set_secret 'x' TOKEN
told secret.nul 'encoded' set_secret 'with\0nul' TOKEN
# One newline at the end is no part of a value, unless it is said to be.
told secret.too_short 'longer value' set_secret 'abc\n' TOKEN
expect 0 'is set' set_secret 'abc\n' TOKEN --exact
writ secrets rm TOKEN >/dev/null

# What mends it is named.
told cli.bad_duration '366d' writ run --repo "$repo" --timeout 500d true
expect 3 '^hint: .*--timeout' writ run --repo "$repo" --timeout 61m true
expect 1 '^hint: .*--timeout' writ run --repo "$repo" --timeout 1s 'sleep 60'
expect 1 '^hint: .*artifacts RUN --log' writ run --repo "$repo" 'exit 3'
told cli.network_and_none 'leave one of them out' writ run --repo "$repo" --no-network --allow-host a.example true
told runner.no_plane_key '--plane-key' writ runner start --plane http://127.0.0.1:1
expect 6 '127.0.0.1:1 failed' env -u http_proxy "$WRIT_BIN/writ" --dir "$state" runs --plane http://127.0.0.1:1 --token-file /dev/stdin <<<token
expect 1 'runs cannot be done here' writ doctor --plane http://127.0.0.1:1
cause=$(sed -n 's/^ *cause: \(GET .*\)/\1/p' "$work/out") mend=$(sed -n '/cause: GET/{n;s/^ *mend: *//p}' "$work/out")
[ -n "$cause" ] && [ -n "$mend" ] && [[ $cause != *"$mend"* ]] || { cat "$work/out"; fail "the cause of a plane that is away is its mend too"; }
python3 -c 'import json,sys; p=json.load(open(sys.argv[1])); p["secrets"]["releasable"].append({"name":"UNSET","scope":"pool:default","pools":["default"]}); json.dump(p, sys.stdout)' "$state/policy.json" >"$work/policy.json"
cp "$state/policy.json" "$work/policy.before"
cp "$work/policy.json" "$state/policy.json"
told bad_request 'writ secrets set' writ run --repo "$repo" --secret UNSET true
expect 0 '^  unmet .*writ secrets set UNSET' writ run --repo "$repo" --dry-run --secret UNSET true
cp "$work/policy.before" "$state/policy.json"

# What is named and is there already is one exit code.
touch "$work/there"
told file.create_failed 'not there yet' writ enroll-token --out "$work/there"
told file.create_failed 'not there yet' writ principals add somebody --role requester --out "$work/there"
expect 0 token writ principals add somebody --role requester
told principal.exists 'another name' writ principals add somebody --role requester
writ run --repo "$repo" --artifact out.txt 'echo x >out.txt' >"$work/out" 2>&1 || { cat "$work/out"; fail "the run failed"; }
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
expect 0 'written' writ artifacts "$run" --out "$work/files"
told artifacts.exists 'new' writ artifacts "$run" --out "$work/files"
told path.mkdir_failed 'correct the path' writ artifacts "$run" --out "$work/there/x"
told secret.not_found 'secrets list' writ secrets rm NOBODY
: >"$work/empty"
told cli.no_token 'principals add' writ runs --plane http://127.0.0.1:1 --token-file "$work/empty"
expect 2 'receipts.unknown_run' writ runner receipts show run_x
expect 2 'receipts.unknown_run' writ runner receipts export run_x --out "$work/x.json"
told receipts.no_runner 'name the runner' "$WRIT_BIN/writ" --dir "$work/absent" runner receipts
told runner.not_found 'runners' writ runners revoke rnr_nope
told principal.not_found 'principals list' writ principals revoke nope
told run.no_late_receipt 'without --late' writ bundle "$run" --late
head -c 70000 /dev/zero | tr '\0' x >"$work/large"
told secret.too_large 'key or token' writ secrets set LARGE --file "$work/large"
expect 0 'next: writ --dir .*/new run' "$WRIT_BIN/writ" --dir "$work/new" init
told plane.not_initialized '' "$WRIT_BIN/writ" --dir "$work/absent" run --dry-run --repo "$repo" true
[ ! -e "$work/absent" ] || fail "a dry run without a plane leaves something behind"
told workspace.unreadable 'look whether it is there' writ run --repo "$work/nowhere" true
git init -q "$work/odd"
echo 'ref: refs/heads/a..b' >"$work/odd/.git/HEAD"
told workspace.no_head 'check a branch out' writ run --repo "$work/odd" true
echo garbage >"$work/odd/.git/HEAD"
told workspace.no_head 'git status' writ run --repo "$work/odd" true
told cli.usage 'has examples' writ plane start --port 99999
grep -q '65535' "$work/out" || { cat "$work/out"; fail "the range of ports is not said"; }
told cli.usage 'has examples' writ run --max-spend -1 true
[ "$(wc -c <"$work/out")" -lt 200 ] || { cat "$work/out"; fail "a wrong amount is no clear sentence"; }
told cli.usage 'has examples' writ runs --limit many
grep -q -- "--limit cannot be 'many'" "$work/out" || { cat "$work/out"; fail "a wrong number is no clear sentence"; }
told plane.tls 'PEM' writ plane start --tls-cert "$work/absent.pem" --tls-key "$work/absent.pem"
grep -q 'No such file' "$work/out" || { cat "$work/out"; fail "the reason is not said"; }

# Settings that cannot be taken are told before there is a run.
count() { writ --json runs --limit 100000 >"$work/runs.json"; json "$work/runs.json" 'len(d["runs"])'; }
before=$(count)
echo '{"bogus": true}' >"$state/runner.json"
told object.unknown 'config check' writ run --repo "$repo" true
rm "$state/runner.json"
told cli.variable_unknown 'unset it' env WRIT_RUNNER_BOGUS=1 "$WRIT_BIN/writ" --dir "$state" run --repo "$repo" true
cp "$state/policy.json" "$work/policy.before"
echo '{"version":"x"}' >"$state/policy.json"
told policy.refused 'policy check' writ run --repo "$repo" true
told policy.refused 'policy check' writ policy show
cp "$work/policy.before" "$state/policy.json"
[ "$(count)" = "$before" ] || fail "there is a run of settings that cannot be taken"

# What a job prints never stands before the state that allows it, in either stream.
for option in "" --separate-stderr; do
  # shellcheck disable=SC2086
  expect 0 '^first$' writ run --repo "$repo" $option 'echo first; echo second >&2'
  [ "$(grep -xnE -- '-- running|first|second' "$work/out" | head -1 | cut -d: -f2)" = '-- running' ] ||
    { cat "$work/out"; fail "output stands before its state"; }
done

# A job that may be done twice is said to be one.
expect 0 'never: it is not said to be idempotent' writ run --repo "$repo" --dry-run true
expect 0 'yes, where its runner is lost' writ run --repo "$repo" --dry-run --idempotent true
writ run --repo "$repo" --dry-run --idempotent --json true >"$work/dry.json" 2>/dev/null
[ "$(json "$work/dry.json" 'd["execution"]["idempotent"]')" = True ] || fail "the contract would not say idempotent"

# Each command has help with examples of its own.
python3 - "$WRIT_BIN/writ" <<'PY' || fail "a command's help has no examples of its own"
import re, subprocess, sys
wrong = []
def visit(path):
    text = subprocess.run([sys.argv[1], *path, "--help"], capture_output=True, text=True, check=True).stdout
    name = " ".join(["writ", *path])
    if "Examples:" not in text or not re.search(r"^  (.*[ =])?writ( --dir \S+)?" + re.escape(name[4:]) + r"\b", text.split("Examples:")[1], re.M):
        wrong.append(name)
    listed = text.split("Subcommands:\n")[1].split("\n\n")[0] if "Subcommands:\n" in text else ""
    for command in re.findall(r"^  ([a-z][a-z-]*)(?: |$)", listed, re.M):
        visit([*path, command])
visit([])
print("without examples:", wrong) if wrong else None
sys.exit(1 if wrong else 0)
PY
echo token >"$work/token"
expect 6 'plane.unreachable' writ runs --plane http://127.0.0.1:1 --token-file "$work/token"
expect 2 'plane.url_plain_http' writ runs --plane http://plane.example.com --token-file "$work/token"

# Planes that answer, but no plane's answers, or none: a sentence about it, and 6.
cat >"$work/peer.py" <<'PY'
import http.server, socket, sys, threading
class Nonsense(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html>welcome</html>" if self.path.startswith("/v1/runs") else b'{"policy":7}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Refusing(Nonsense):
    def do_GET(self):
        body = b'{"error":"unauthorized"}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
refusing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=refusing.serve_forever, daemon=True).start()
nonsense = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
silent = socket.create_server(("127.0.0.1", 0))
print(nonsense.server_port, silent.getsockname()[1], refusing.server_port, flush=True)
kept = []
threading.Thread(target=lambda: [kept.append(silent.accept()) for _ in iter(int, 1)], daemon=True).start()
nonsense.serve_forever()
PY
mkfifo "$work/ports"
python3 "$work/peer.py" >"$work/ports" &
peer=$!
background+=("$peer")
read -r nonsense silent refusing <"$work/ports"
far() { writ "$1" --plane "http://127.0.0.1:$2" --token-file "$work/token" "${@:3}"; }
expect 6 "plane.bad_answer" far runs "$nonsense"
expect 6 "is not what the protocol says" far runs "$nonsense"
expect 6 "is this the URL of a plane?" far runners "$nonsense"
expect 6 '"code": "plane.bad_answer"' far runs "$nonsense" --json
expect 6 'plane.bad_answer' far export "$nonsense"
expect 6 'plane.bad_answer' far bundle "$nonsense" run_1
expect 6 'plane.bad_answer' far receipt "$nonsense" run_1
expect 6 'plane.bad_answer' writ policy show --plane "http://127.0.0.1:$nonsense" --token-file "$work/token"
expect 3 'is the token in --token-file' far runs "$refusing"
expect 6 'plane.timeout' far runs "$silent" --plane-timeout 300ms
expect 6 'got no full answer' far runs "$silent" --plane-timeout 300ms
for command in "receipt $silent run_x" "bundle $silent run_x" "artifacts $silent run_x" "pull $silent run_x --repo $repo" "export $silent"; do
  # shellcheck disable=SC2086
  expect 6 'plane.timeout' far $command --plane-timeout 300ms
done
expect 2 'cli.bad_duration' far runs "$silent" --plane-timeout soon
expect 2 'cli.way_without_plane' writ runs --plane-timeout 1s
expect 2 'cli.half_tls' far runs "$silent" --client-cert "$work/absent.pem"
kill "$peer"
wait "$peer" 2>/dev/null || true

# 4: cancelled before a runner came, and then watched.
writ run --repo "$repo" --no-watch true >"$work/run" 2>/dev/null
run=$(cat "$work/run")
expect 0 'cancelled' writ cancel "$run"
expect 4 'cancelled' writ watch "$run"
expect 2 'run.ended' writ cancel "$run"

# Keys for auditors: of a runner that the plane knows, and of no other.
expect 0 'RUNNER' writ runners
expect 2 'runner.not_found' writ runners key rnr_nobody
expect 2 'cli.usage' writ runners keys
writ runners --json >"$work/runners.json"
[ "$(json "$work/runners.json" 'd["runners"][0]["publicKeyPem"][:26]')" = '-----BEGIN PUBLIC KEY-----' ] || fail "no key in the list"

# Also of a key that was rotated out: what it signed must stay checkable.
old_key=$(json "$work/runners.json" 'd["runners"][0]["keyId"]')
writ runners rotate "$(json "$work/runners.json" 'd["runners"][0]["runnerId"]')" >/dev/null 2>&1
writ run --repo "$repo" true >/dev/null 2>&1
expect 0 'retired' writ runners
expect 0 'BEGIN PUBLIC KEY' writ runners key "$old_key"
expect 0 '"retired": true' writ runners key "$old_key" --json

# Retention, counted first and then done: nothing is old here.
expect 0 'would remove 0 runs' writ plane gc --dry-run
expect 0 '"blobsLeft"' writ plane gc --json

# What a refused run does not have is not offered.
writ run --repo "$repo" --isolation microvm true >"$work/out" 2>&1 || true
grep -q 'receipt: ' "$work/out" || fail "a refused run has a receipt"
if grep -q 'writ.*pull' "$work/out"; then cat "$work/out"; fail "nothing to pull, and pull is offered"; fi
[ "$(grep -c 'no guest image\|no machine can be made' "$work/out")" = 1 ] || { cat "$work/out"; fail "the reason is to be said once"; }

# A repository of somebody else is captured where its reader says so, or acts for others as root does.
if [ "$(id -u)" -eq 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$WRIT_BIN/writ"; then
  mkdir -m 755 "$work/other" "$work/other/state"
  chown 65534:65534 "$work/other" "$work/other/state"
  other() { HOME="$work/other" setpriv --reuid 65534 --regid 65534 --clear-groups "$WRIT_BIN/writ" --dir "$work/other/state" "$@"; }
  other init >/dev/null
  told workspace.other_owner 'safe.directory' other run --repo "$repo" --dry-run true
  grep -q 'belongs to .*uid 0' "$work/out" || { cat "$work/out"; fail "the owner is not named"; }
  git config --file "$work/other/global" --add safe.directory "$repo"
  chmod 644 "$work/other/global"
  GIT_CONFIG_GLOBAL="$work/other/global" expect 0 'DRY RUN' other run --repo "$repo" --dry-run true
  HOME="$work/other" git config --global --add safe.directory "$repo"
  GIT_CONFIG_GLOBAL=/dev/null told workspace.other_owner 'safe.directory' other run --repo "$repo" --dry-run true
  expect 0 'DRY RUN' other run --repo "$repo" --dry-run true
  cp -a "$repo" "$work/others_repository"
  chown -R 65534:65534 "$work/others_repository"
  expect 0 'belongs to .*uid 65534' writ run --repo "$work/others_repository" --dry-run true
  expect 0 'workspace.other_owner' writ run --repo "$work/others_repository" true
fi

# A state directory of somebody else is not one that lacks a plane.
if [ "$(id -u)" -eq 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$WRIT_BIN/writ"; then
  as_other() { setpriv --reuid 65534 --regid 65534 --clear-groups "$WRIT_BIN/writ" --dir "$state" "$@"; }
  for command in runs init 'policy show' 'secrets list'; do
    expect 2 'cli.dir_unreadable' as_other $command
  done
fi
# Nor is a place where nothing can be made or written.
expect 2 'path.mkdir_failed' "$WRIT_BIN/writ" --dir /proc/nowhere init
for command in init runs 'secrets list' 'plane start --port 0' "run --repo $repo true"; do
  # shellcheck disable=SC2086
  expect 2 'cli.dir_impossible' "$WRIT_BIN/writ" --dir /dev/null/x $command
done
# A change that stays with its runner is not offered.
writ run --disclosure metadata-only --repo "$repo" 'echo more >>list.txt' >"$work/out" 2>&1 || { cat "$work/out"; fail "the run failed"; }
if grep -q 'writ.*pull' "$work/out"; then cat "$work/out"; fail "the change was withheld, and pull is offered"; fi
grep -q 'writ.*receipt' "$work/out" || { cat "$work/out"; fail "the receipt is not offered"; }
expect 2 'cannot make the directory /proc/nowhere' "$WRIT_BIN/writ" --dir /proc/nowhere init
if [ "$(id -u)" -eq 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$WRIT_BIN/writ"; then
  mkdir -m 755 "$work/closed"
  unprivileged() { setpriv --reuid 65534 --regid 65534 --clear-groups "$WRIT_BIN/writ" --dir "$@"; }
  for dir in "$work/closed" "$work/closed/new"; do
    expect 2 'is not yours to read and write' unprivileged "$dir" init
    expect 2 'name a directory of your own with --dir' unprivileged "$dir" init
  done
fi
expect 2 'plane.not_initialized' "$WRIT_BIN/writ" --dir "$work/absent" runs

# A run that takes the requester's own change back has one too, and it comes home.
echo four >>"$repo/list.txt"
expect 0 'writ.*pull' writ run --repo "$repo" 'git checkout -q list.txt'
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
expect 0 'applied' writ pull "$run" --repo "$repo"
[ -z "$(git -C "$repo" status --porcelain)" ] || fail "the change that took the other one back did not arrive"
writ receipt "$run" --json >"$work/receipt.json"
[ "$(json "$work/receipt.json" 'd["receipt"]["workspaceOut"]["diffHash"]')" = '' ] || fail "the receipt names a diff against the base that there is none of"
echo four >>"$repo/list.txt"
writ run --repo "$repo" true >"$work/out" 2>&1 || { cat "$work/out"; fail "the run failed"; }
if grep -q 'writ.*pull' "$work/out"; then cat "$work/out"; fail "the run changed nothing, and pull is offered"; fi
git -C "$repo" checkout -q list.txt
expect 0 'workspace.pattern_unused' writ run --repo "$repo" --allow-untracked 'absent/*' true

# Output that is too long to be shown whole is said to be, and its log is at hand (L18).
expect 0 'the output above ends early' writ run --repo "$repo" 'head -c 20000000 /dev/zero; echo; echo the end'
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/out")
writ artifacts "$run" --log >"$work/log"
[ "$(tail -n 1 "$work/log")" = 'the end' ] || fail "the log ends with '$(tail -c 80 "$work/log")'"
expect 0 'in the middle of the log' writ receipt "$run"
rm "$work/log"

# A full disk behind standard output is a failure, a reader that leaves is none.
writ bundle "$run" --out "$work/whole.json" >/dev/null
for command in "bundle $run" "receipt $run" "runs --json" export "canonicalize $work/whole.json" "verify $work/whole.json" "policy show"; do
  # shellcheck disable=SC2086
  expect 1 'cli.output_failed' to_full_disk $command
  # shellcheck disable=SC2086
  writ $command | true || fail "a reader that leaves made it fail: $command"
done
for command in --help --version "run --help" "--json --version"; do
  # shellcheck disable=SC2086
  expect 1 'cli.output_failed' to_full_disk $command
done
expect 0 '^{"version": "[0-9.]*"}$' writ --version --json
# A file that is asked for is written through a link, and into what is no file: that is never replaced.
ln -s whole.json "$work/link.json"
expect 0 'link.json' writ bundle "$run" --out "$work/link.json"
[ -L "$work/link.json" ] || fail "a link was replaced by the file that it names"
mkfifo "$work/pipe"
cat "$work/pipe" >"$work/piped.json" &
expect 0 'pipe' writ bundle "$run" --out "$work/pipe"
wait $!
cmp "$work/piped.json" "$work/whole.json" || fail "a pipe did not get the bundle"
[ -p "$work/pipe" ] || fail "a pipe was replaced by a file"
mkdir "$work/folder"
expect 2 'writing' writ bundle "$run" --out "$work/folder"
if mknod -m 666 "$work/full" c 1 7 2>/dev/null && [ -w "$work/full" ] && ! echo x 2>/dev/null >"$work/full"; then
  expect 1 'hint: .*room' writ bundle "$run" --out "$work/full"
  [ -c "$work/full" ] || fail "a device was replaced by a file"
fi
for words in "$work/whole.json" --help --version '--version --json'; do
  expect 1 'could not be written.*verify.output' "$BASH" -c '"$0" $1 >/dev/full' "$WRIT_BIN/writ-verify" "$words"
  grep -q '^hint: ' "$work/out" || fail "an output that was not written has no hint: writ-verify $words"
done

# One directory serves several pools: the second is not turned away by the seat of the first.
python3 -c 'import json,sys; p=json.load(open(sys.argv[1])); p["runners"]["allowPools"].append("other"); json.dump(p, sys.stdout)' "$state/policy.json" >"$work/policy.json"
expect 0 'can be enforced' writ policy check "$work/policy.json"
cp "$work/policy.json" "$state/policy.json"
expect 0 'completed' writ run --repo "$repo" --pool other true
expect 0 'completed' writ run --repo "$repo" true
echo "exit codes: as documented"
