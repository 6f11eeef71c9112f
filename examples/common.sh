# Sourced by every example: finds writ, makes a temporary state directory and a small repository.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${WRIT_BIN:-}" ]; then
  if [ -x "$root/build/release/bin/writ" ]; then WRIT_BIN=$root/build/release/bin
  elif command -v writ >/dev/null; then WRIT_BIN=$(dirname "$(command -v writ)")
  else echo "no writ found: run scripts/quickstart first, or set WRIT_BIN" >&2; exit 2; fi
fi
work=$(mktemp -d)
chmod 711 "$work"   # a root runner's jobs have a uid of their own and must reach their session below it
state=$work/state
repo=$work/repo
background=()
clean_up() { for pid in "${background[@]:-}"; do [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }; done; rm -rf "$work"; }
trap clean_up EXIT

writ() { "$WRIT_BIN/writ" --dir "$state" "$@"; }
say() { printf '\n## %s\n' "$*"; }
fail() { echo "EXAMPLE FAILED: $*" >&2; exit 1; }
# json FILE EXPRESSION: a value out of a JSON file, in Python's words (d is the document).
json() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }

make_repository() {
  git init -q -b main "$repo"
  printf 'one\ntwo\nthree\n' >"$repo/list.txt"
  printf '*.log\n' >"$repo/.gitignore"
  git -C "$repo" add -A
  git -C "$repo" -c user.name=example -c user.email=example@example.com commit -qm 'first'
}

# Skips where no machine can be made.
need_machines() {
  for needed in /usr/bin/qemu-system-x86_64 /usr/bin/mkfs.erofs; do
    [ -x "$needed" ] || { echo "skipped: there is no $needed (scripts/install-packages)"; exit 77; }
  done
  compgen -G '/boot/vmlinuz-*-cloud-amd64' >/dev/null || { echo "skipped: no kernel of linux-image-cloud-amd64"; exit 77; }
}

# make_root PROGRAM...: a root file system of these programs of the host, in $work/root; its sh is bash.
make_root() {
  local name program library
  mkdir -p "$work/root/usr/bin" "$work/root/usr/lib64" "$work/root/etc"
  for name in bin lib lib64; do ln -s "usr/$name" "$work/root/$name"; done
  for program in "$@"; do
    cp "$(command -v "$program")" "$work/root/usr/bin/"
    ldd "$(command -v "$program")" | grep -o '/[^ ]*' | while read -r library; do
      install -D "$library" "$work/root/usr/${library#/usr}"
    done
  done
  ln -s bash "$work/root/usr/bin/sh"
}
