#!/usr/bin/env bash
# Images from the import to the removal, and runs in them: in a container by each runtime that is installed, and in the
# sandbox tier. What the real receipts say of it; a damaged image is found, refused and mended. L4 L30 L47
. "$(dirname "$0")/../../examples/common.sh"
make_repository
writ init >/dev/null

# refused CODE WORDS COMMAND...
refused() {
  local code=$1 words=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; fail "exit $got, $code expected: $*"; }
  grep -q -- "$words" "$work/out" || { cat "$work/out"; fail "'$words' is not said: $*"; }
}
ran() { writ run --repo "$repo" "$@" >"$work/out" 2>"$work/err"; }
# environment EXPRESSION: of the runner's environment (e) in the receipt (d) of the last run.
environment() {
  local run
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
  [ -e "$work/bundle-$run.json" ] || writ bundle "$run" --out "$work/bundle-$run.json" >/dev/null
  json "$work/bundle-$run.json" "(lambda d: (lambda e: ($1))(d['runner']['environment']))(d['receipt'])"
}

say "an image: brought in, found by name and digest, told as what it is"
mkdir -p "$work/image/bin" "$work/image/opt"
cp "$(command -v busybox)" "$work/image/bin/busybox"
for tool in sh cat echo id ls stat uname; do ln -s busybox "$work/image/bin/$tool"; done
echo "of the image" >"$work/image/opt/note"
id=$(writ image import "$work/image" --name small)
[[ $id == sha256:???????????????????????????????????????????????????????????????? ]] || fail "the digest is $id"
writ --json image ls >"$work/list.json"
[ "$(json "$work/list.json" '[(i["id"], i["names"]) for i in d["images"]]')" = "[('$id', ['small'])]" ] || fail "ls"
writ --json image inspect "${id:7:12}" >"$work/record.json"
[ "$(json "$work/record.json" 'd["source"], d["entries"], d["tree"][:7]')" = "('directory', 11, 'sha256:')" ] ||
  { cat "$work/record.json"; fail "inspect"; }
writ image verify small | grep -q "^$id is what was imported" || fail "verify"
refused 2 'image.unknown' writ image inspect nowhere
refused 2 'image.bad_name' writ image import "$work/image" --name ../x

task='cat /opt/note; id -u; uname -r; ls /opt; echo changed >> list.txt; [ ! -e /usr/lib ] && echo no usr'
runtimes=()
for runtime in crun runc runsc; do
  for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do
    [ ! -x "$dir/$runtime" ] || { runtimes+=("$runtime"); break; }
  done
done
[ ${#runtimes[@]} -gt 0 ] || fail "no OCI runtime is installed"

# held_in TIER VERSION MECHANISM: what every receipt of a run in that image says.
held_in() {
  grep -q '^of the image$' "$work/out" && grep -q '^1000$' "$work/out" && grep -q '^no usr$' "$work/out" ||
    { cat "$work/out" "$work/err"; fail "the job saw another root"; }
  [ "$(environment "e['tier'], e['backend'], e['image']")" = "('$1', '$1', '$id')" ] || fail "tier, backend, image: $(environment e)"
  [ "$(environment "'$2' in e['version'], e['workspace']['kind'] in ('overlay', 'plain')")" = "(True, True)" ] || fail "the version: $(environment e)"
  [ "$(environment "[e['enforcement'][a]['level'] for a in ('files', 'network', 'syscalls', 'processes')]")" = \
    "['kernel', 'kernel', 'kernel', 'kernel']" ] || fail "the enforcement: $(environment e)"
  [ "$(environment "e['enforcement']['syscalls']['profile']")" = default ] || fail "the profile: $(environment e)"
  [ "$(environment "d['status'], e['enforcement']['files']['mechanism'][:${#3}]")" = "('completed', '$3')" ] || fail "$(environment e)"
}

for runtime in "${runtimes[@]}"; do
  say "a container by $runtime"
  printf '{"container": {"runtime": "%s"}}\n' "$runtime" >"$state/runner.json"
  ran --isolation container --image small "$task" || { cat "$work/out" "$work/err"; fail "the run"; }
  held_in container "$runtime " "container of $runtime"
  refused 1 'container.image_unknown\|no image nowhere' writ run --repo "$repo" --isolation container --image nowhere true

  say "into a container by $runtime"
  : >"$work/ready"
  "$WRIT_BIN/writ" --dir "$state" run --repo "$repo" --isolation container --image small --allow-access exec,copy \
    'echo ready; until [ -e go ]; do sleep 0.1; done' >"$work/ready" 2>"$work/err" &
  pid=$!
  background+=("$pid")
  until grep -q '^ready' "$work/ready"; do
    kill -0 "$pid" 2>/dev/null || { cat "$work/err"; fail "the job did not start"; }
    sleep 0.1
  done
  run=$(sed -n 's/^run \(run_.*\)$/\1/p' "$work/err")
  [ "$(writ exec "$run" -- sh -c 'id -u; cat /opt/note; echo from-inside > made')" = "$(printf '1000\nof the image')" ] || fail "exec"
  writ cp "$run:made" "$work/made-$runtime" >/dev/null
  grep -q '^from-inside$' "$work/made-$runtime" || fail "cp"
  writ exec "$run" -- sh -c ': > go'
  wait "$pid" || { cat "$work/err"; fail "the run that was entered"; }
  background=()
  writ receipt "$run" --json >"$work/receipt.json"
  [ "$(json "$work/receipt.json" "[e['type'] for e in d['saw']['entered']].count('session.entered'), d['verification']['ok']")" = "(3, True)" ] ||
    fail "the receipt: $(cat "$work/receipt.json")"
done

say "the sandbox tier in the same image"
rm "$state/runner.json"
ran --isolation sandbox --image small "$task" || { cat "$work/out" "$work/err"; fail "the run"; }
held_in sandbox writ "mount namespace"

say "a damaged image is found on demand, and no job gets it"
folder=$state/images/sha256-${id#sha256:}
truncate -s 3 "$folder/root/opt/note"
refused 1 'image.damaged' writ image verify small
grep -q 'hint: import the image again' "$work/out" || { cat "$work/out"; fail "the mend is not said"; }
for tier in sandbox container; do
  if ran --isolation "$tier" --image small 'cat /opt/note'; then fail "a job ran in what is damaged: $tier"; fi
  [ "$(environment "e['failureCode']")" = image.damaged ] || { cat "$work/err"; fail "the receipt: $(environment e)"; }
done

say "and once a boot without being asked"
[ "$(writ image import "$work/image")" = "$id" ] || fail "importing it again"
writ image verify small >/dev/null || fail "it is not mended"
truncate -s 3 "$folder/root/opt/note"
echo "another boot" >"$folder/looked-at"
if ran --isolation sandbox --image small 'cat /opt/note'; then fail "a job ran in what the disk had lost"; fi
[ "$(environment "e['failureCode']")" = image.damaged ] || fail "the receipt: $(environment e)"
[ "$(writ image import "$work/image")" = "$id" ] || fail "importing it again"
ran --isolation sandbox --image small 'cat /opt/note' || { cat "$work/err"; fail "it is not mended"; }
grep -q '^of the image$' "$work/out" || fail "the file is still damaged"

say "removed"
writ image rm small >/dev/null
[ ! -e "$folder" ] || fail "the image is still there"
refused 2 'image.unknown' writ image rm small
refused 1 'image' writ run --repo "$repo" --isolation sandbox --image small true
say "done"
