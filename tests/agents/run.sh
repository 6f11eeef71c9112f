#!/usr/bin/env bash
# The real-agent check: the real Claude Code and Codex, from npm, each edit a file under Writ in one isolation tier, against
# the model server beside this script. Not part of the test suite: it downloads about 640 MB. Results: docs/agents.md.
#
#   tests/agents/run.sh [--install DIR] [--isolation TIER] [--image PATH] [--agent KIND]...
#
# --isolation T   process (the default), sandbox or container.
# --image PATH    of the container tier: whatever `writ image import` takes. Default: a root made of this host's shell, git
#                 and a few tools with their libraries; the agents and node are not in it, but mounted read-only.
# --install DIR   where the npm packages are or shall be; kept. Default: a temporary folder, removed at the end.
# --agent KIND    claude-code or codex; may be repeated. Default: both.
# WRIT_BIN        the folder with writ, writ-launch and writ-egress-proxy. Default: build/release/bin, build/dev/bin.
#
# Exit: 0 every check held, 1 one did not, 2 usage or no writ, 77 skipped (the agents cannot be installed here).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() { sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'; }
skip() { echo "SKIPPED: $*" >&2; exit 77; }
die() { echo "$*" >&2; exit 2; }

install=
tier=process
image=
agents=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) [ $# -ge 2 ] || die "--install needs a folder"; install=$2; shift 2 ;;
    --isolation) [ $# -ge 2 ] || die "--isolation needs a tier"; tier=$2; shift 2 ;;
    --image) [ $# -ge 2 ] || die "--image needs an image or a root directory"; image=$2; shift 2 ;;
    --agent) [ $# -ge 2 ] || die "--agent needs a kind"; agents+=("$2"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[ ${#agents[@]} -gt 0 ] || agents=(claude-code codex)
for agent in "${agents[@]}"; do
  case $agent in claude-code | codex) ;; *) die "unknown agent kind: $agent" ;; esac
done

if [ -z "${WRIT_BIN:-}" ]; then
  for dir in "$root/build/release/bin" "$root/build/dev/bin"; do
    if [ -x "$dir/writ" ]; then WRIT_BIN=$dir; break; fi
  done
fi
for program in writ writ-launch writ-egress-proxy; do
  [ -x "${WRIT_BIN:-}/$program" ] || die "no $program in ${WRIT_BIN:-build/release/bin}: build first, or set WRIT_BIN"
done
for tool in node npm python3 git; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done

# --- what is made here goes away again ---------------------------------------------------------------------------------
# Not below /tmp: Codex will not use a home there.
work=$(mktemp -d /var/tmp/writ-agents-XXXXXX)
chmod 711 "$work" # jobs have a uid of their own and must reach their session below it
made_install=
server=
clean_up() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
  [ -z "$made_install" ] || rm -rf "$made_install"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- the agents --------------------------------------------------------------------------------------------------------
declare -A package=([claude-code]=@anthropic-ai/claude-code [codex]=@openai/codex)
declare -A program=([claude-code]=claude [codex]=codex)
if [ -z "$install" ]; then
  install=$(mktemp -d /tmp/writ-agents-npm-XXXXXX)
  made_install=$install
fi
mkdir -p "$install"
install=$(cd "$install" && pwd -P)
[ -z "$made_install" ] || chmod 755 "$install"
wanted=()
for agent in "${agents[@]}"; do
  [ -e "$install/node_modules/.bin/${program[$agent]}" ] || wanted+=("${package[$agent]}")
done
if [ ${#wanted[@]} -gt 0 ]; then
  echo "installing ${wanted[*]} into $install"
  (umask 022 && npm install --prefix "$install" --no-audit --no-fund --loglevel=error "${wanted[@]}") >"$work/npm.log" 2>&1 ||
    skip "npm cannot install ${wanted[*]}: $(grep -v '^npm error A complete log' "$work/npm.log" | tail -n 2 | tr '\n' ' ')"
fi
version_of() { node -p 'require(process.argv[1]).version' "$install/node_modules/${package[$1]}/package.json"; }

# --- the model server, a repository, a plane ---------------------------------------------------------------------------
python3 -B "$here/model_server.py" --log "$work/model.log" --port-file "$work/port" --until-pid $$ >"$work/server.out" 2>&1 </dev/null &
server=$!
for _ in $(seq 100); do
  [ -s "$work/port" ] && break
  kill -0 "$server" 2>/dev/null || die "the model server does not start: $(tail -n 1 "$work/server.out")"
  sleep 0.1
done
port=$(cat "$work/port")

repo=$work/repo
git init -q -b main "$repo"
printf '# Notes\n\nThe first line.\n' >"$repo/NOTES.md"
printf 'int main() { return 0; }\n' >"$repo/main.c"
git -C "$repo" add -A
git -C "$repo" -c user.name=example -c user.email=example@example.com commit -q -m first

state=$work/state
writ() { "$WRIT_BIN/writ" --dir "$state" "$@"; }
writ init >/dev/null
# A name that leads to loopback: the operator says where, grants the address (refused otherwise, whatever a name
# resolves to) and names the port; the policy and the contract name the host. Each agent is told the address in its own way.
python3 -B - "$state" "$port" "$install" "$(dirname "$(command -v node)")" "${agents[@]}" <<'PY'
import json, sys
state, port, install, node, agents = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]
host, base = "model.example.com", "http://model.example.com:" + port
with open(state + "/policy.json") as file:
    policy = json.load(file)
policy["network"] = {"defaultDeny": True, "allowHosts": [host]}
with open(state + "/policy.json", "w") as file:
    json.dump(policy, file, indent=2)
bin_dir = install + "/node_modules/.bin/"
runner = {"hostOverrides": [{"name": host, "addresses": ["127.0.0.1"]}], "addressGrants": ["127.0.0.1/32"],
          "allowHosts": [host + ":" + port], "searchPath": ["/usr/local/bin", "/usr/bin", "/bin"],
          "agentPaths": {"claude-code": bin_dir + "claude", "codex": bin_dir + "codex"},
          "agentVars": {"claude-code": {"ANTHROPIC_BASE_URL": base}, "codex": {"OPENAI_BASE_URL": base + "/v1"}}}
runner["agentPaths"] = {kind: path for kind, path in runner["agentPaths"].items() if kind in agents}
if node not in runner["searchPath"]:
    runner["searchPath"].append(node)
with open(state + "/runner.json", "w") as file:
    json.dump(runner, file, indent=2)
PY

# --- the image of the container tier ------------------------------------------------------------------------------------
copy_with_libraries() { # ROOT PROGRAM...: the programs, and what they are linked with
  local root=$1 file
  shift
  for file in "$@" $(ldd "$@" 2>/dev/null | grep -o '/[^ )]*' | sed 's/:$//' | sort -u); do
    file=/${file#/}
    case $file in /usr/*) ;; *) file=/usr$file ;; esac
    [ -e "$file" ] || continue
    mkdir -p "$root$(dirname "$file")"
    cp -Ln "$file" "$root$file"
  done
}
if [ "$tier" = container ]; then
  if [ -z "$image" ]; then
    image=$work/root
    mkdir -p "$image"/{etc,opt,var/tmp,usr/{bin,sbin,lib,lib64}}
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$image/$name"; done
    tools=()
    for name in sh bash dash cat cp env expr find git grep head id ls mkdir mktemp mv printf pwd rm sed sort stat tail tee test \
      touch tr true uname wc which; do
      tool=$(readlink -f "$(type -P "$name")")
      tools+=("$tool")
      [ "$(basename "$tool")" = "$name" ] || ln -sf "$(basename "$tool")" "$image/usr/bin/$name"
    done
    copy_with_libraries "$image" "${tools[@]}"
    # What node and the agents are linked with is the image's to have.
    for program in "$(readlink -f "$(command -v node)")" "$install"/node_modules/.bin/*; do
      for library in $(ldd "$(readlink -f "$program")" 2>/dev/null | grep -o '/[^ )]*' | sort -u); do
        copy_with_libraries "$image" "$library"
      done
    done
  fi
  writ image import "$image" --name agents >/dev/null || die "the image cannot be imported"
  rm -rf "$work/root"
fi

# --- the runs ----------------------------------------------------------------------------------------------------------
line='edited by the agent'
failed=0
table=$work/table
printf 'agent\tversion\texit\tstatus\tverified\tchanged\tallowed\tblocked\tmodel calls\tseconds\n' >"$table"
for agent in "${agents[@]}"; do
  out=$work/$agent
  mkdir "$out"
  printf '\n## %s %s, tier %s\n' "$agent" "$(version_of "$agent")" "$tier"
  before=$(wc -l <"$work/model.log")
  started=$(date +%s.%N)
  code=0
  timeout -k 10 300 "$WRIT_BIN/writ" --dir "$state" run --agent "$agent" --isolation "$tier" ${image:+--image agents} --allow-host model.example.com --timeout 3m --repo "$repo" \
    "append the line '$line' to NOTES.md" >"$out/out" 2>"$out/err" </dev/null || code=$?
  ended=$(date +%s.%N)
  cat "$out/out"
  run=$(sed -n 's/^run \(run_[A-Za-z0-9_-]*\)$/\1/p' "$out/err" | head -n 1)
  verified=0
  if [ -n "$run" ] && writ bundle "$run" --out "$out/bundle.json" >/dev/null 2>>"$out/err"; then
    writ verify "$out/bundle.json" --plane-key "$state/keys/plane.pub.pem" >"$out/verify" 2>&1 || verified=$?
  else
    verified=missing
  fi
  tail -n +"$((before + 1))" "$work/model.log" >"$out/model.log"
  python3 -B - "$out" "$agent" "$(version_of "$agent")" "$code" "$verified" "$started" "$ended" "$table" <<'PY' || failed=1
import json, os, sys
out, agent, version, code, verified, started, ended, table = sys.argv[1:]
try:
    with open(out + "/bundle.json") as file:
        bundle = json.load(file)
except OSError:
    bundle = {"receipt": {}, "events": []}
receipt, events = bundle["receipt"], [entry["event"] for entry in bundle["events"]]
with open(out + "/model.log") as file:
    calls = [json.loads(text) for text in file]
accessed = [(entry["host"], entry["decision"]) for entry in receipt.get("networkAccessed", [])]
allowed = sorted(host for host, decision in accessed if decision == "allowed")
blocked = sorted(host for host, decision in accessed if decision == "blocked")
changed = sorted({event["path"] for event in events if event["type"] == "file.changed"})
answers = [call["answered"] for call in calls]
with open(table, "a") as file:
    file.write("\t".join([agent, version, code, receipt.get("status", "-"), "yes" if verified == "0" else "no", " ".join(changed) or "-",
                          " ".join(allowed) or "-", " ".join(blocked) or "-", str(len([c for c in calls if c["method"] == "POST"])),
                          "%.1f" % (float(ended) - float(started))]) + "\n")
problems = []
def need(holds, sentence):
    if not holds:
        problems.append(sentence)
need(code == "0", "writ run ended with exit code " + code)
need(receipt.get("status") == "completed", "the receipt says " + str(receipt.get("status")))
need(verified == "0", "the bundle does not verify")
need(changed == ["NOTES.md"], "the changed files are " + (", ".join(changed) or "none") + ", NOTES.md alone expected")
need(allowed == ["model.example.com"], "the allowed hosts are " + (", ".join(allowed) or "none") + ", model.example.com alone expected")
need(any(answer.startswith("call ") for answer in answers), "the agent called none of its tools")
need(answers and answers[-1] == "done", "the conversation did not end in the closing sentence: " + ", ".join(answers))
for problem in problems:
    print("CHECK FAILED: %s: %s" % (agent, problem), file=sys.stderr)
sys.exit(1 if problems else 0)
PY
  if [ "$code" = 0 ]; then
    git clone -q "$repo" "$out/checkout"
    writ pull "$run" --repo "$out/checkout" >/dev/null 2>>"$out/err" || true
    if [ "$(tail -n 1 "$out/checkout/NOTES.md")" != "$line" ]; then
      echo "CHECK FAILED: $agent: the pulled NOTES.md does not end in the line" >&2
      failed=1
    fi
  fi
  [ "$failed" = 0 ] || sed 's/^/  /' "$out/err" >&2
done

printf '\n'
python3 -B - "$table" <<'PY'
import sys
rows = [text.rstrip("\n").split("\t") for text in open(sys.argv[1])]
widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
PY
[ "$failed" = 0 ] || exit 1
echo "every check held"
