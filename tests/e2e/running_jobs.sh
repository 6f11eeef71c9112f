# For scripts that do something to a run whose job goes on: sourced, after examples/common.sh.

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
# ends CODE: it does, with that.
ends() {
  local got=0
  wait "$pid" || got=$?
  background=()
  exec 3<&-
  [ "$got" = "$1" ] || { cat "$work/err" "$work/rest"; fail "exit $got, $1 expected"; }
}
# expect CODE COMMAND...: what it printed is in $work/out and $work/errors.
expect() {
  local want=$1 got=0; shift
  "$@" >"$work/out" 2>"$work/errors" </dev/null || got=$?
  [ "$got" = "$want" ] || { cat "$work/out" "$work/errors"; fail "exit $got of $*, $want expected"; }
}
