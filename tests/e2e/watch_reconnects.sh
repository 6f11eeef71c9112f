#!/usr/bin/env bash
# L18, L19: who watches a run from afar gets every byte of both streams once, also where the plane was killed and
# started again meanwhile, answered 503 to the output only or to everything, or was away when the job ended; and where
# it stays away, exit code 6 and how to go on, while the run does.
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null
[ "$(id -u)" != 0 ] || echo '{"uidRange":{"first":234300,"count":3}}' >"$state/runner.json"

# until_ WORDS COMMAND...: polls, bounded.
until_() {
  local words=$1
  shift
  for _ in $(seq 1 600); do "$@" && return 0; sleep 0.05; done
  tail -n 20 "$work"/*.err "$work"/watch.* >&2 || true
  fail "$words"
}
port=0
start_plane() {
  : >"$work/plane.json"
  "$WRIT_BIN/writ" --dir "$state" --json plane start --port "$port" >"$work/plane.json" 2>>"$work/plane.err" &
  plane=$!
  background+=("$plane")
  until_ "the plane does not serve" test -s "$work/plane.json"
  url=$(json "$work/plane.json" 'd["url"]')
  port=${url##*:}
}
kill_plane() {
  kill -KILL "$plane"
  wait "$plane" 2>/dev/null || true
}
start_plane
writ enroll-token --pool default --out "$work/token" >/dev/null
writ principals add ci --role requester --out "$work/ci.token" >/dev/null
"$WRIT_BIN/writ" --dir "$state" runner start --pool default --plane "$url" --plane-key "$state/keys/plane.pub.pem" \
  --enroll-token-file "$work/token" >"$work/runner.out" 2>"$work/runner.err" &
background+=("$!")

# A balancer before the plane: what is written to $work/refuse (a word of the path, or "everything") gets a 503.
cat >"$work/balancer.py" <<'PY'
import http.client, http.server, os, sys
work, plane = sys.argv[1], sys.argv[2]
class Balancer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"): self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def relay(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try: refuse = open(work + "/refuse").read().strip()
        except OSError: refuse = ""
        if refuse == "everything" or refuse and refuse in self.path:
            open(work + "/refused", "a").write(self.path + "\n")
            return self.answer(503, b"<html>busy</html>")
        to = http.client.HTTPConnection(plane, timeout=60)
        to.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "host"})
        got = to.getresponse()
        self.answer(got.status, got.read(), got.getheaders())
    do_GET = do_POST = relay
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Balancer)
open(work + "/balancer.new", "w").write(str(server.server_address[1]))
os.rename(work + "/balancer.new", work + "/balancer.port")
server.serve_forever()
PY
python3 "$work/balancer.py" "$work" "127.0.0.1:$port" 2>"$work/balancer.err" &
background+=("$!")
until_ "the balancer does not serve" test -s "$work/balancer.port"
balancer=http://127.0.0.1:$(cat "$work/balancer.port")

# ask URL TASK OPTIONS...: watched in the background; $asker.
ask() {
  local at=$1 task=$2
  shift 2
  "$WRIT_BIN/writ" --dir "$work/user" run --plane "$at" --token-file "$work/ci.token" --repo "$repo" --isolation process \
    --separate-stderr "$@" "$task" >"$work/watch.out" 2>"$work/watch.err" &
  asker=$!
  background+=("$asker")
}
seen() { [ "$(wc -l <"$work/watch.out")" -ge "$1" ]; }
ended() { # CODE
  local got=0
  wait "$asker" || got=$?
  [ "$got" = "$1" ] || { cat "$work/watch.err" "$work"/*.err; fail "exit $got, $1 expected"; }
}
lines() { seq 1 "$2" | sed "s/^/$1 /"; }
whole() { # N: both streams, to the byte
  cp "$work"/watch.* "${KEEP:-$work}" 2>/dev/null || true
  lines out "$1" | cmp - "$work/watch.out" || fail "standard output is not the job's"
  grep '^err ' "$work/watch.err" | cmp - <(lines err "$1") || fail "standard error is not the job's"
  ! grep -q 'not whole' "$work/watch.err" || fail "output is called missing that is not"
}
told() { [ "$(grep -c -- '-- plane away, trying again' "$work/watch.err")" = 1 ] || { cat "$work/watch.err"; fail "the outage is not told once"; }; }
job='i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo "out $i"; echo "err $i" >&2; sleep 0.1; done'

say "503 to the output only"
ask "$balancer" "$job"
until_ "no output" seen 3
echo /log >"$work/refuse"
until_ "nothing was refused" grep -q /log "$work/refused"
until_ "the outage is not told" grep -q 'plane away' "$work/watch.err"
rm "$work/refuse"
ended 0
whole 30
told

say "503 to everything"
ask "$balancer" "$job"
until_ "no output" seen 3
echo everything >"$work/refuse"
until_ "the outage is not told" grep -q 'plane away' "$work/watch.err"
rm "$work/refuse"
ended 0
whole 30
told

say "the plane is killed and started again"
ask "$url" "$job"
until_ "no output" seen 3
kill_plane
until_ "the outage is not told" grep -q 'plane away' "$work/watch.err"
start_plane
ended 0
whole 30
told

say "the plane is away when the job ends: the rest comes from its log"
ask "$url" "$job; touch job-has-ended"
until_ "no output" seen 3
kill_plane
until_ "the job did not end" sh -c "find '$state/runner' -name job-has-ended 2>/dev/null | grep -q ."
start_plane
ended 0
whole 30

say "a plane that stays away: 6, and the run goes on"
ask "$url" "$job" --reconnect 1s
until_ "no output" seen 3
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/watch.err")
kill_plane
ended 6
told
grep -q '\[plane.away\]' "$work/watch.err" || { cat "$work/watch.err"; fail "why is not said"; }
grep -q "^hint: the run goes on .*watch $run" "$work/watch.err" || { cat "$work/watch.err"; fail "how to go on is not said"; }
start_plane
writ() { "$WRIT_BIN/writ" --dir "$work/user" "$@" --plane "$url" --token-file "$work/ci.token"; }
got=0
writ watch "$run" >"$work/watch.out" 2>"$work/watch.err" || got=$?
[ "$got" = 0 ] || { cat "$work/watch.err"; fail "the run did not go on ($got)"; }
whole 30

say "Ctrl-C while the plane is away"
ask "$url" "$job"
until_ "no output" seen 3
run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/watch.err")
writ watch "$run" >"$work/second.out" 2>"$work/second.err" &
second=$!
background+=("$second")
until_ "no second output" test -s "$work/second.out"
kill_plane
until_ "the outage is not told" grep -q 'plane away' "$work/second.err"
kill -TERM "$second"
got=0
wait "$second" || got=$?
[ "$got" = 143 ] || { cat "$work/second.err"; fail "exit $got, 143 expected"; }
kill -TERM "$asker"
until_ "the cancellation is not told" grep -q 'cancelling' "$work/watch.err"
start_plane
ended 4
echo "watch reconnects: as expected"
