#!/usr/bin/env bash
# Everything that would leave this machine, before anything does.
. "$(dirname "$0")/../common.sh"
make_repository
echo 'changed' >>"$repo/list.txt"
echo 'KEY=1' >"$repo/.env"
mkdir "$repo/docs"; echo 'draft' >"$repo/docs/draft.md"
writ init >/dev/null

say "the report"
writ run --dry-run --repo "$repo" --allow-untracked 'docs/*.md' --timeout 5m 'make'
writ run --dry-run --repo "$repo" --allow-untracked 'docs/*.md' --timeout 5m --json 'make' >"$work/report.json"
[ "$(json "$work/report.json" 'd["dryRun"]')" = True ] || fail "not a dry run"
[ "$(json "$work/report.json" 'd["workspace"]["untrackedPaths"]')" = "['docs/draft.md']" ] || fail "wrong untracked paths"
[ "$(json "$work/report.json" 'd["defaultIsolation"]')" = sandbox ] || fail "the tier is not told"
[ "$(json "$work/report.json" '".env" in d["workspace"]["deniedPaths"]')" = True ] || fail ".env is not kept back"

say "nothing moved"
writ runs --json >"$work/runs.json"
[ "$(json "$work/runs.json" 'len(d["runs"])')" = 0 ] || fail "a run was made"
[ -z "$(find "$state/plane/blobs" -type f 2>/dev/null)" ] || fail "a blob was stored"

say "and what policy would refuse is refused here too"
code=0; writ run --dry-run --repo "$repo" --allow-host evil.example.com 'make' || code=$?
[ "$code" = 3 ] || fail "exit $code, 3 expected"
echo "dry-run: as expected"
