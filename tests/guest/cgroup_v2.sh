# In a guest (in_guest.sh): limits that cgroup v2 holds where a group was delegated, and that nothing is touched where none was. L4, L16, L38, L47.
cg=/sys/fs/cgroup
writ=/opt/writ/writ
repo=/opt/test/repo
all="+cpu +io +memory +pids"
ok() { echo "ok $*"; }
fail() { echo "FAIL $*"; }
# must WORDS COMMAND...: it succeeds.
must() { words=$1; shift; if "$@"; then ok "$words"; else fail "$words"; fi; }
# has FILE PATTERN
has() { grep -qE -- "$2" "$1" || { cat "$1"; return 1; }; }
# in GROUP COMMAND...: with a process of that group, the only one in it.
in_group() { group=$1; shift; sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }
# No group of a job is left below, and none that a probe made.
clean() { left=$(find "$1" -type d -name 'writ-*'); [ -z "$left" ] || { echo "left: $left"; return 1; }; }
gone() { [ ! -d "$1" ] || rmdir "$1/runner" "$1" 2>/dev/null || { find "$1" -type d; cat "$1/cgroup.procs" "$1/runner/cgroup.procs"; return 1; }; }
wait_for() { n=0; until "$@" 2>/dev/null; do n=$((n + 1)); [ $n -lt 1500 ] || return 1; usleep 100000; done; }


# hog NAME HOW...: a job that takes too much memory; HOW runs `writ` in the group.
hog() {
  name=$1; shift
  "$@" run --repo $repo --memory 64M --agent argv -- ./glutton memory-bomb >/tmp/out 2>&1
  must "$name: a hog of memory is ended by its limit" has /tmp/out 'limit\.memory'
}
# limits NAME HOME HOW...: what a job is held to; HOME is the directory of `writ`.
limits() {
  name=$1; home=$2; shift 2
  hog $name "$@"
  "$@" run --repo $repo --isolation process --processes 50 --agent argv -- ./glutton fork-bomb >/tmp/out 2>&1
  must "$name: a fork bomb is ended by its limit" has /tmp/out 'limit\.processes'
  # A fifth of a CPU for four seconds, where the limit holds at all; and no way out of the group or to another limit.
  "$@" run --repo $repo --isolation process --memory 64M --cpus 0.2 --processes 50 'echo $$ >'$cg'/cgroup.procs || echo kept
    for d in '$group_now'/writ-*; do echo max >$d/memory.max || echo held; done
    end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done' >/tmp/out 2>&1
  must "$name: a job does not leave its group" has /tmp/out kept
  must "$name: a job does not lift its limit" has /tmp/out held
  run=$(sed -n 's/^run \(run_[A-Za-z0-9_-]*\)$/\1/p' /tmp/out | head -n 1)
  $writ --dir $home bundle "$run" --out /tmp/$name.json >/dev/null 2>&1
  tr -d ' \n' </tmp/$name.json >/tmp/flat
  used=$(grep -oE '"cpuMs":[0-9]+' /tmp/flat | head -n 1 | grep -oE '[0-9]+')
  must "$name: its CPU time ($used ms in 4 s) is its share's" [ "${used:-9999}" -lt 2000 ]
  for limit in memory processes cpuShare; do
    grep -oE "\{[^{}]*\"limit\":\"$limit\"[^{}]*\}" /tmp/flat | head -n 1 >/tmp/holder
    must "$name: the receipt says that cgroup v2 holds $limit" has /tmp/holder 'cgroup-?v2|cgroupV2'
  done
  must "$name: nothing of a job is left" clean $cg
}

echo "$all" >$cg/cgroup.subtree_control || fail "this kernel has no such controllers"

# --- As systemd has a unit with Delegate=yes: the process sits in the group itself.
mkdir $cg/unit
/opt/test/delegate $cg/unit
in_group $cg/unit $writ --dir /tmp/root doctor >/tmp/out 2>&1
must "doctor tells of a group that is offered" has /tmp/out 'was delegated and hands its controllers on once a runner'
must "doctor changes nothing" [ -z "$(cat $cg/unit/cgroup.subtree_control)" ]
# Each time the group as a service manager makes it: it removes what is left, the leaf too.
unit() { rmdir $cg/unit/runner $cg/unit 2>/dev/null; mkdir -p $cg/unit; /opt/test/delegate $cg/unit; in_group $cg/unit $writ --dir /tmp/root "$@"; }
group_now=$cg/unit
limits root-in-unit /tmp/root unit
must "all that was listed is handed on" [ "$(cat $cg/unit/cgroup.subtree_control)" = "cpu io memory pids" ]
in_group $cg/unit/runner $writ --dir /tmp/root doctor >/tmp/out 2>&1
for what in memory tasks cpu io; do must "doctor: $what by v2" has /tmp/out "$what by v2 below $cg/unit(,|\$)"; done
must "the group of a runner that is gone can be removed" gone $cg/unit

# --- As systemd 254 has one with DelegateSubgroup=: the process sits below it already.
mkdir -p $cg/sub/main
/opt/test/delegate $cg/sub
hog DelegateSubgroup in_group $cg/sub/main $writ --dir /tmp/root
must "DelegateSubgroup: no leaf of ours is made" [ ! -d $cg/sub/runner ]
must "DelegateSubgroup: nothing of a job is left" clean $cg

# --- An ordinary user's, handed over by its owner as user@.service has it: without io.
mkdir $cg/above $cg/above/user
echo "+cpu +memory +pids" >$cg/above/cgroup.subtree_control
hand_over() { chown 1000:1000 $cg/above/user $cg/above/user/cgroup.procs $cg/above/user/cgroup.subtree_control $cg/above/user/cgroup.threads; }
user() {
  rmdir $cg/above/user/runner $cg/above/user 2>/dev/null; mkdir -p $cg/above/user; hand_over
  in_group $cg/above/user /opt/test/setpriv --reuid 1000 --regid 1000 --clear-groups env HOME=/tmp/home $writ --dir /tmp/user "$@"
}
cp -a $repo /tmp/repo && chown -R 1000:1000 /tmp/repo && mkdir -p /tmp/home && chown 1000:1000 /tmp/home
repo=/tmp/repo
group_now=$cg/above/user
limits user /tmp/user user
user run --repo $repo --io 50M true >/tmp/out 2>&1
must "user: a rate of disks, which was not delegated, is refused" has /tmp/out 'capability_mismatch|limit_not_held'
must "user: and how to have it is said" has /tmp/out 'Delegate=cpu io memory pids'

# --- What is not ours is left as it is.
repo=/opt/test/repo
refused() { # NAME GROUP PATTERN
  in_group $2 $writ --dir /tmp/root run --repo $repo --memory 64M true >/tmp/out 2>&1
  must "$1: a limit that nothing holds is refused" has /tmp/out 'capability_mismatch|limit_not_held'
  must "$1: and why" has /tmp/out "$3"
  must "$1: the group is as it was" [ -z "$(cat $2/cgroup.subtree_control)$(ls -d $2/*/ 2>/dev/null)" ]
}
mkdir $cg/plain $cg/shared $cg/theirs
refused "not delegated" $cg/plain 'is not delegated to this process'
/opt/test/delegate $cg/shared
sleep 600 &
sleeper=$!
echo $sleeper >$cg/shared/cgroup.procs
refused "a neighbour" $cg/shared "process $sleeper sits in the delegated cgroup"
kill $sleeper
/opt/test/delegate $cg/theirs
mkdir $cg/theirs/pod
in_group $cg/theirs $writ --dir /tmp/root run --repo $repo --memory 64M true >/tmp/out 2>&1
must "groups of others: refused, and why" has /tmp/out 'has the group pod of somebody else'
must "groups of others: as it was" [ -z "$(cat $cg/theirs/cgroup.subtree_control)" ]
before=$(cat $cg/cgroup.subtree_control)
$writ --dir /tmp/root run --repo $repo --memory 64M --agent argv -- ./glutton memory-bomb >/tmp/out 2>&1
must "the root group, whose controllers its owner handed on, is used as it is" has /tmp/out 'limit\.memory'
must "and not changed" [ "$before" = "$(cat $cg/cgroup.subtree_control)" -a ! -d $cg/runner ]

# --- A cgroup namespace, as a private one of a container: its top is the container's own.
mkdir $cg/box
cat >/tmp/in_box <<'BOX'
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec /opt/writ/writ --dir /tmp/root run --repo /opt/test/repo --memory 64M --agent argv -- ./glutton memory-bomb
BOX
in_group $cg/box /opt/test/unshare -m -C sh /tmp/in_box >/tmp/out 2>&1
must "the top of a cgroup namespace: a hog of memory is ended by its limit" has /tmp/out 'limit\.memory'
must "the top of a cgroup namespace: nothing of a job is left" clean $cg

# --- kill -9 of a runner at work, and the next one, which starts in the leaf (L38).
$writ --dir /tmp/root --json plane start --port 0 >/tmp/plane.json 2>/tmp/plane.err &
wait_for grep -q '"url"' /tmp/plane.json
url=$(tr -d ' \n' </tmp/plane.json | sed 's/.*"url":"\([^"]*\)".*/\1/')
$writ --dir /tmp/root enroll-token --pool default --out /tmp/token >/dev/null
$writ --dir /tmp/root principals add ci --role requester --out /tmp/ci.token >/dev/null
mkdir $cg/served
/opt/test/delegate $cg/served
serve() { in_group "$@" $writ --dir /tmp/root runner start --plane $url --plane-key /tmp/root/keys/plane.pub.pem --enroll-token-file /tmp/token >/tmp/runner.out 2>&1; }
serve $cg/served &
wait_for grep -q . $cg/served/runner/cgroup.procs
must "a runner that serves takes the group at its start" [ "$(cat $cg/served/cgroup.subtree_control)" = "cpu io memory pids" ]
$writ --dir /tmp/root run --plane $url --token-file /tmp/ci.token --repo $repo --memory 200M 'echo ready; sleep 600' >/tmp/asked 2>&1 &
wait_for sh -c "cat $cg/served/writ-run*/memory.max"
must "its job is born in a group with the limit" [ "$(cat $cg/served/writ-run*/memory.max)" = 209715200 ]
wait_for sh -c "grep -q . $cg/served/writ-run*/cgroup.procs"
must "and with nothing of the runner in it" [ -n "$(cat $cg/served/writ-run*/cgroup.procs)" -a -z "$(cat $cg/served/cgroup.procs)" ]
runner=$(pidof writ | tr ' ' '\n' | while read -r pid; do grep -q served/runner /proc/$pid/cgroup && echo $pid; done)
kill -9 $runner
serve $cg/served/runner &
wait_for grep -q "serves pool" /tmp/runner.out
wait_for clean $cg/served
must "killed with -9: the next one leaves nothing of the job" clean $cg/served
run=$(sed -n 's/^run \(run_[A-Za-z0-9_-]*\)$/\1/p' /tmp/asked | head -n 1)
$writ --dir /tmp/root run --plane $url --token-file /tmp/ci.token --repo $repo --memory 64M --agent argv -- ./glutton memory-bomb >/tmp/out 2>&1
must "and holds the next run to its limit" has /tmp/out 'used more memory than it may'
wait_for $writ --dir /tmp/root bundle "$run" --out /tmp/killed.json
must "the killed run has a receipt" [ -s /tmp/killed.json ]

# --- What is taken back while it serves is seen before the next claim.
echo "-memory" >$cg/served/cgroup.subtree_control
must "a controller that is taken back is seen before a claim" wait_for grep -q runner.capabilities /tmp/runner.out
$writ --dir /tmp/root run --plane $url --token-file /tmp/ci.token --repo $repo --no-watch --memory 64M true >/tmp/asked 2>&1
$writ --dir /tmp/root runs >/tmp/out 2>&1
must "and a run that needs it waits" has /tmp/out "$(sed -n 's/^run \(run_[A-Za-z0-9_-]*\)$/\1/p' /tmp/asked).*(created|queued|waiting)"
runner=$(pidof writ | tr ' ' '\n' | while read -r pid; do grep -q served/runner /proc/$pid/cgroup && echo $pid; done)
kill -TERM $runner
wait_for sh -c "! kill -0 $runner"
must "a runner that leaves leaves its leaf alone" [ -d $cg/served/runner -a -z "$(cat $cg/served/runner/cgroup.procs)" ]
must "which can be removed with its group" gone $cg/served
must "nothing of a job is left in the end" clean $cg
echo done
