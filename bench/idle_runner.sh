#!/usr/bin/env bash
# What an idle runner costs: CPU and wake-ups a minute and resident memory, of a runner with 4 slots at a
# plane on loopback; what a run in work adds to it; and runs a second of a queue of `true`.
#   WRIT_BIN=build/release/bin bench/idle_runner.sh [SECONDS [RUNS]]
. "$(dirname "$0")/../examples/common.sh"
seconds=${1:-60}
runs=${2:-1000}
make_repository
writ init >/dev/null
python3 - "$state/config.json" <<'CONFIG'
import json, sys
config = json.load(open(sys.argv[1]))
wide = {"perMinute": 100000, "burst": 100000}  # one requester asks for all of the queue
config.setdefault("plane", {}).setdefault("limits", {}).update(perPrincipal=wide, perAgent=wide, perPool=wide)
json.dump(config, open(sys.argv[1], "w"))
CONFIG
"$WRIT_BIN/writ" --dir "$state" --json plane start --port 0 >"$work/plane.json" 2>"$work/plane.err" &
background+=("$!")
for _ in $(seq 1 200); do [ -s "$work/plane.json" ] && break; sleep 0.05; done
url=$(json "$work/plane.json" 'd["url"]')
writ enroll-token --pool default --out "$work/token" >/dev/null
writ principals add ci --role requester --out "$work/ci.token" >/dev/null
as_runner() { exec "$WRIT_BIN/writ" --dir "$state" runner start --pool default --plane "$url" --plane-key "$state/keys/plane.pub.pem" --slots 4 "$@"; }
ask() { "$WRIT_BIN/writ" --dir "$state" run --plane "$url" --token-file "$work/ci.token" --repo "$repo" "$@"; }
as_runner --enroll-token-file "$work/token" >/dev/null 2>"$work/runner.err" &
pid=$!
background+=("$pid")
for _ in $(seq 1 200); do writ runner status >/dev/null 2>&1 && break; sleep 0.05; done
figures() { python3 -c '
import os, sys
pid, tick = sys.argv[1], os.sysconf("SC_CLK_TCK")
stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
wakes = rss = 0
for task in os.listdir(f"/proc/{pid}/task"):
    wakes += int(dict(l.split(":") for l in open(f"/proc/{pid}/task/{task}/status"))["voluntary_ctxt_switches"])
rss = int(dict(l.split(":") for l in open(f"/proc/{pid}/status"))["VmRSS"].split()[0])
print((int(stat[11]) + int(stat[12])) * 1000 // tick, wakes, rss)' "$pid"; }
read -r cpu wakes rss < <(figures)
sleep "$seconds"
read -r cpu2 wakes2 rss2 < <(figures)
echo "idle: $(((cpu2 - cpu) * 60 / seconds)) ms CPU and $(((wakes2 - wakes) * 60 / seconds)) wake-ups a minute, $rss2 KiB resident"
for i in 1 2 3 4; do
  ask 'echo ready; sleep 600' >"$work/busy$i" 2>/dev/null &
  background+=("$!")
done
for i in 1 2 3 4; do until grep -q ready "$work/busy$i"; do sleep 0.05; done; done
read -r _ _ busy < <(figures)
echo "active: $(((busy - rss2) / 4)) KiB resident more for each of 4 runs in work"
kill -TERM "$pid"; sleep 1; kill -TERM "$pid"
wait "$pid" 2>/dev/null || true
seq 1 "$runs" | xargs -P 4 -I{} "$WRIT_BIN/writ" --dir "$state" run --no-watch --no-network --plane "$url" \
  --token-file "$work/ci.token" --repo "$repo" true >/dev/null 2>&1
begin=$(date +%s.%N)
(as_runner --max-runs "$runs") >/dev/null 2>"$work/runner.err"
python3 -c "import sys; s = float(sys.argv[2]) - float(sys.argv[1]); print(f'queue: {sys.argv[3]} runs of true in {s:.1f} s, {int(sys.argv[3]) / s:.1f} a second')" "$begin" "$(date +%s.%N)" "$runs"
