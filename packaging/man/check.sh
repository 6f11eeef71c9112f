#!/usr/bin/env bash
# Every command of the program is in a page, every option of writ-verify in its own, and a reader of manual
# pages takes them without a warning. 77: there is no such reader here, the rest was checked.
# Usage: check.sh FOLDER_WITH_PAGES
set -euo pipefail
pages=$1
fail() { echo "FAILED: $*" >&2; exit 1; }
for page in writ.1 writ-verify.1 writ.json.5 writ-plane.8 writ-runner.8; do
  [ -s "$pages/$page" ] || fail "$page was not made"
  if grep -n '@' "$pages/$page" | grep -v 'writ-runner@\|@example'; then fail "$page has a mark left"; fi
done
all=$(cat "$pages"/writ.1 "$pages"/writ-plane.8 "$pages"/writ-runner.8 | sed 's/\\-/-/g')
for command in run receipt 'runner start' 'plane start' 'config show' backup doctor 'secrets set'; do
  grep -q "^.SS \"writ $command\"" <<<"$all" || fail "no page has writ $command"
done
verify=$(sed 's/\\-/-/g' "$pages/writ-verify.1")
for option in $("$WRIT_BIN/writ-verify" --help | grep -o '^  --[a-z-]*'); do
  grep -q -- "$option" <<<"$verify" || fail "writ-verify.1 lacks $option"
done
if command -v mandoc >/dev/null; then
  said=$(mandoc -T lint -W warning "$pages"/* 2>&1 | grep -v 'missing date' || true)
  [ -z "$said" ] || fail "$said"
elif command -v groff >/dev/null || { command -v man >/dev/null && man --warnings -E UTF-8 -l "$pages/writ.1" >/dev/null 2>&1; }; then
  for page in "$pages"/*; do
    said=$(LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || fail "$(basename "$page"): $said"
  done
else
  echo "skipped: neither mandoc nor groff is installed; commands and options were checked"
  exit 77
fi
echo "manual pages: as the program is"
