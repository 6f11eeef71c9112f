#!/usr/bin/env bash
# What bash offers for a line, asked of bash itself; zsh and fish read their scripts where they are installed.
# Usage: check.sh FOLDER_WITH_SCRIPTS
set -euo pipefail
scripts=$1
fail() { echo "FAILED: $*" >&2; exit 1; }
# offered WORD... : what is offered for the last one.
offered() {
  bash --norc -c '
    source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9
    _writ
    printf "%s\n" "${COMPREPLY[@]}"' bash "$scripts/bash/writ" "$@" 2>/dev/null
}
has() { # WORD that must be offered, line...
  local word=$1; shift
  local said
  said=$(offered "$@") || true
  grep -qx -- "$word" <<<"$said" || fail "'$word' is not offered for: $*"
}
lacks() {
  local word=$1; shift
  local said
  said=$(offered "$@") || true
  if grep -qx -- "$word" <<<"$said"; then fail "'$word' is offered for: $*"; fi
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir folder; : >file.json

has run writ ''
has runner writ ru
lacks plane writ ru
has start writ runner ''
lacks show writ runner ''
has show writ config s
has --slots writ runner start --s
has --dir writ runner start --d                # global options hold everywhere
lacks --slots writ plane start --s
has --allow-host writ run --agent codex --a    # an option's operand is no command
has warn writ --log-level ''
has warn writ runs --log-level w
has warn writ --log-level = w                  # as bash splits --log-level=w
has bash writ completion ''
has file.json writ config check f
has file.json writ backup --out f
has folder writ run --repo f
lacks file.json writ run --repo f
has run writ --dir receipt ru                  # "receipt" is a directory here
lacks manual writ ''                           # not for people
lacks run writ run ''

# Every command that help lists is offered, so the list is the program's own.
for command in $("$WRIT_BIN/writ" --help | sed -n '/^Subcommands:/,/^$/p' | awk '/^  [a-z]/ {print $1}'); do
  has "$command" writ ''
done

if command -v zsh >/dev/null; then zsh -n "$scripts/_writ" || fail "zsh does not read its script"; fi
if command -v fish >/dev/null; then fish --no-execute "$scripts/writ.fish" || fail "fish does not read its script"; fi
echo "completion: as the program is"
