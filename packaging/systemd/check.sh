#!/bin/sh
# systemd's own reader of unit files accepts ours. 77: there is no such reader here.
# Usage: check.sh SYSTEMD_ANALYZE FOLDER_WITH_UNITS
set -eu
analyze=$1
units=$2
if [ ! -x "$analyze" ]; then
  echo "skipped: systemd-analyze is not installed"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The program is not installed where the tests run; any that exists stands for it.
for unit in "$units"/*.service.in; do
  sed 's|@WRIT_BINDIR@/writ |/bin/true |; /^Documentation=/d' "$unit" > "$work/$(basename "$unit" .in)"
done
cp "$work/writ-runner@.service" "$work/writ-runner@gpu.service"
said=$("$analyze" verify --man=no "$work/writ-runner.service" "$work/writ-runner@gpu.service" \
  "$work/writ-plane.service" 2>&1) || { echo "$said"; exit 1; }
# It accepts what it does not know with a line of warning: for our files that is a failure.
if echo "$said" | grep -F "$work"; then exit 1; fi
echo "accepted"
