#!/usr/bin/env bash
# exec, attach and cp into the session of a `writ run`: denied where nothing was granted, held in the
# session where it was, and every use in the receipt. L8 L16 L18 L38
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null

# begin SCRIPT ARGUMENTS...: a run in the background; $pid, $run. Its job says "ready" when it is set up.
begin() {
  local script=$1; shift
  rm -f "$work/ready"; mkfifo "$work/ready"
  "$WRIT_BIN/writ" --dir "$state" run --repo "$repo" "$@" "$script" >"$work/ready" 2>"$work/err" &
  pid=$!
  background+=("$pid")
  exec 3<"$work/ready"
  while read -r -u 3 line; do [[ $line == ready* ]] && break; done
  [[ ${line:-} == ready* ]] || { cat "$work/err"; fail "the job did not start"; }
  cat <&3 >"$work/rest" &
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
}
# ends CODE: waits for the run and compares.
ends() {
  local got=0
  wait "$pid" || got=$?
  background=()
  exec 3<&-
  [ "$got" = "$1" ] || { cat "$work/err"; fail "exit $got, $1 expected"; }
}
# expect CODE COMMAND...: its exit; output in $work/out, errors in $work/errors.
expect() {
  local want=$1 got=0; shift
  "$@" >"$work/out" 2>"$work/errors" </dev/null || got=$?
  [ "$got" = "$want" ] || { cat "$work/out" "$work/errors"; fail "exit $got of $*, $want expected"; }
}
events() { writ receipt "$run" --json >"$work/receipt.json"; json "$work/receipt.json" "[e for e in d['saw']['entered'] if e['type'] == '$1']${2:-}"; }

# Connects to the way into sessions: 0 it got there. Whether a job can is asked in its own tier.
reach='socket(S, 1, 1, 0) or exit 1; connect(S, pack("Sa*", 1, $ARGV[0])) or exit 1; exit 0'

say "nothing is granted by itself"
begin 'echo ready; sleep 600'
expect 125 writ exec "$run" -- true
grep -q 'allow-access' "$work/errors" || { cat "$work/errors"; fail "the mend is not named"; }
expect 2 writ attach "$run"
expect 2 writ cp "$run:list.txt" "$work/x"
kill -INT "$pid"; ends 4
[ "$(events session.entered)" = "[]" ] || fail "a refused use stands in the receipt"

for tier in ${WRIT_TIERS:-process sandbox}; do
say "into a session: $tier"
begin 'echo before; echo ready; i=0; until [ -e go ]; do sleep 0.1; done; cat from-outside; echo last' \
  --isolation "$tier" --allow-access attach,exec,copy,pause
expect 1 writ pause "$run"
grep -q 'access.no_pause' "$work/errors" && grep -q microvm "$work/errors" || { cat "$work/errors"; fail "what cannot be paused is not said"; }
expect 1 writ --json resume "$run"
[ "$(json "$work/out" 'd["code"]')" = access.no_pause ] || fail "--json: $(cat "$work/out")"
expect 7 writ exec "$run" -- sh -c 'cat list.txt; echo err >&2; exit 7'
[ "$(cat "$work/out")" = "$(printf 'one\ntwo\nthree')" ] || fail "the command did not see the workspace"
[ "$(cat "$work/errors")" = err ] || fail "standard error is not its own"
expect 127 writ exec "$run" -- no-such-program
expect 143 writ exec "$run" -- sh -c 'kill -TERM $$'
writ exec "$run" -- sh -c 'cat > typed' <<<'through standard input'
expect 3 writ --json exec "$run" -- sh -c 'cat typed; exit 3'
[ "$(json "$work/out" 'd["exitCode"], d["stdout"]')" = "(3, 'through standard input\n')" ] || fail "--json: $(cat "$work/out")"
head -c 5000000 /dev/urandom >"$work/much"
writ exec "$run" -- cat <"$work/much" | cmp - "$work/much" || fail "not all went through, both ways at once"
expect 125 writ exec --timeout 1s "$run" -- sleep 600
expect 2 writ cp a b

socket=$(find "$state/runner" -maxdepth 2 -name access.sock)
[ "$(stat -c %a "$socket")" = 600 ] || fail "the socket is open to others"
perl -e "$reach" "$socket" || fail "the attempt shows nothing: it does not get through from outside"
expect 1 writ exec "$run" -- perl -e "$reach" "$socket"

mkdir -p "$work/tree/sub"; echo "from outside" >"$work/tree/sub/file"; ln -sfn /etc/passwd "$work/tree/link"
expect 0 writ cp "$work/tree" "$run:copied"
grep -q 'left out.*link' "$work/errors" || fail "a link was not told"
expect 0 writ cp "$run:copied" "$work/back-$tier"
cmp "$work/back-$tier/sub/file" "$work/tree/sub/file" || fail "the tree is another"
expect 0 writ exec "$run" -- sh -c 'ln -s /etc/passwd planted; ln -s "$HOME" elsewhere'
expect 2 writ cp "$run:planted" "$work/stolen"
grep -q copy.link "$work/errors" || fail "why a link is not followed is not said"
[ ! -e "$work/stolen" ] || fail "a planted link was followed"
expect 0 writ cp "$run:list.txt" "$work/here"
cmp "$work/here" "$repo/list.txt" || fail "the file is another"

# A terminal of the session's own, seen through one of ours; what would make ours answer is not passed on.
python3 - "$WRIT_BIN/writ" "$state" "$run" <<'END'
import os, pty, sys, select
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], ["writ", "--dir", sys.argv[2], "exec", "--tty", sys.argv[3], "--", "sh", "-c",
             "printf 'a\\033[6nb\\033]0;title\\007c\\033[1md\\n'; stty size; read x; echo \"got $x\"; test -t 0; exit 9"])
seen = b""
def until(text):
    global seen
    while text not in seen:
        piece = os.read(fd, 4096)
        if not piece: raise SystemExit("ended: %r" % seen)
        seen += piece
until(b"\n")
os.write(fd, b"hello\r")
until(b"got hello")
try:
    while True:
        piece = os.read(fd, 4096)
        if not piece: break
        seen += piece
except OSError:
    pass
_, status = os.waitpid(pid, 0)
assert os.WEXITSTATUS(status) == 9, (status, seen)
assert b"\x1b[6n" not in seen and b"title" not in seen and b"ab" in seen, seen
assert b"\x1b[1md" in seen, seen
END

# Attached from an offset, again and again; the end comes with the job's own.
expect 0 writ attach "$run" --timeout 1s
grep -q '^before$' "$work/out" || fail "the output is not replayed"
offset=$(sed -n 's/.*--from \([0-9]*\)$/\1/p' "$work/errors")
[ "$offset" = "$(printf 'before\nready\n' | wc -c)" ] || fail "the offset is $offset"
"$WRIT_BIN/writ" --dir "$state" attach "$run" --from "$offset" >"$work/attached" 2>/dev/null &
attached=$!
for _ in $(seq 1 200); do  # until it is connected: the job ends with the next line
  ls -l "/proc/$attached/fd" 2>/dev/null | grep -q socket && break
  sleep 0.05
done
expect 0 writ exec "$run" -- sh -c 'echo hello > from-outside; touch go'
ends 0
wait "$attached" || fail "attach did not end well"
[ "$(cat "$work/attached")" = "$(printf 'hello\nlast')" ] || { cat "$work/attached"; fail "the rest of the output is another"; }
[ "$(events session.entered '[0]["mode"]')" = exec ] || fail "the use is not in the receipt"
[ "$(events session.left '[0]["exitCode"]')" = 7 ] || fail "the exit is not in the receipt"
[ "$(events file.copied '[0]["direction"], d["verification"]["ok"]')" = "('in', True)" ] || fail "the copy is not in the receipt"
sum=$(sha256sum <"$repo/list.txt" | cut -d' ' -f1)
[ "$(events file.copied '[-1]["contentHash"]')" = "$sum" ] || fail "the hash of what was copied is another"
writ receipt "$run" | grep -q 'entered *exec by' || fail "the screen does not show it"
expect 125 writ exec "$run" -- true
done

say "a job with a terminal"
begin 'test -t 0 || exit 1; stty -echo; echo ready; read x; echo "got $x"' --tty --allow-access attach,input
expect 125 writ exec "$run" --name none -- true
expect 1 writ pause "$run"
grep -q 'grants.session.pause' "$work/errors" || { cat "$work/errors"; fail "a pause was granted by itself"; }
printf 'typed\n' | "$WRIT_BIN/writ" --dir "$state" attach "$run" --stdin >"$work/out" 2>"$work/errors" || true
ends 0
grep -q 'got typed' "$work/out" || { cat "$work/out" "$work/errors"; fail "the keys did not arrive"; }

say "a runner that is killed leaves nothing of what was put in"
mark=98765.$$
begin 'echo ready; sleep 600' --allow-access exec
"$WRIT_BIN/writ" --dir "$state" exec "$run" -- sh -c 'echo inside; exec sleep '"$mark" >"$work/inside" 2>/dev/null &
entered=$!
until grep -q inside "$work/inside"; do kill -0 "$entered" || fail "exec ended"; sleep 0.1; done
kill -KILL "$pid"
got=0; wait "$entered" || got=$?
[ "$got" = 125 ] || fail "exec said $got when its runner was killed"
wait "$pid" 2>/dev/null || true
background=()
killed=$run
expect 0 writ run --repo "$repo" true
run=$killed
[ "$(events session.entered '[0]["mode"]')" = exec ] || fail "the use is not in the receipt of the killed run"
[ "$(events session.left)" = "[]" ] || fail "an end that nobody saw is in the receipt"
! grep -slzF -- "$mark" /proc/[0-9]*/cmdline || fail "what was put in is still there"
say "done"
