#!/usr/bin/env python3
"""Records a database of one schema version as SQL text, from the steps in schema.h.

  python3 tests/golden/schema/record.py plane 1 >tests/golden/schema/plane-1.sql

Run it for the version that has just been followed by another, before that one ships; what is
recorded is never edited. Rows are those below, as far as the version has their columns.
"""
import pathlib
import re
import sqlite3
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
HEADERS = {"plane": "plane/src/store/schema.h", "journal": "runner/src/journal/schema.h"}
ROWS = {
    "plane": [
        ("runners", dict(runner_id="rnr_1", pool="default", key_id="k_1", public_key="PEM-1",
                         enrolled_at=1000)),
        ("runner_tokens", dict(token_hash="h1", runner_id="rnr_1", issued_at=1000)),
        ("principals", dict(name="ci", roles='["requester"]', token_hash="p1", created_at=1000)),
        ("runs", dict(run_id="run_done", status="completed", pool="default", agent_kind="mock",
                      prompt="done", requested_by='{"kind":"human","id":"a"}', submitted_by="ci",
                      request="{}", decision="allow", reason="", requirements="[]",
                      policy_hash="ph", contract="{}", contract_hash="ch", expires_at=9000,
                      timeout_ms=1000, disclosure="full", created_at=1000, updated_at=2000,
                      runner_id="rnr_1", runner_key="PEM-1", receipt="{}")),
        ("runs", dict(run_id="run_new", status="created", pool="default", agent_kind="mock",
                      prompt="new", requested_by='{"kind":"human","id":"a"}', submitted_by="ci",
                      request="{}", decision="allow", reason="", requirements="[]",
                      policy_hash="ph", expires_at=9000, timeout_ms=1000, disclosure="full",
                      created_at=1000, updated_at=1000)),
        ("events", dict(run_id="run_done", seq=0, ts=1000, hash="eh", body='{"seq":0}')),
        ("blob_refs", dict(hash="ab" * 32, run_id="run_done")),
        ("secrets", dict(name="TOKEN", scope="default", source="{}", sealed=b"\x00\x01",
                         updated_at=1000)),
        ("admin_chain", dict(seq=0, ts=1000, hash="ah", body="{}")),
        ("meta", dict(name="policy_hash", value="ph")),
    ],
    "journal": [
        ("runs", dict(run_id="run_open", claimed_at=1000, extended=1, slot=0, contract="{}",
                      plane_events="[]")),
        ("progress", dict(ord=1, offered=0, claim_token="t", step="start", output_bytes=7)),
        ("events", dict(ord=1, seq=3, body='{"seq":3}')),
    ],
}


def main() -> None:
    kind, version = sys.argv[1], int(sys.argv[2])
    array = (ROOT / HEADERS[kind]).read_text().split("std::array", 1)[1]
    steps = [raw or plain for raw, plain in
             re.findall(r'R"sql\((.*?)\)sql"|^ *"([^"\n]*)",$', array, re.S | re.M)]
    if not 1 <= version <= len(steps):
        sys.exit(f"{kind} has versions 1 to {len(steps)}")
    db = sqlite3.connect(":memory:")
    for step in steps[:version]:
        db.executescript(step)
    for table, row in ROWS[kind]:
        known = {column[1] for column in db.execute(f"PRAGMA table_info({table})")}
        row = {name: value for name, value in row.items() if name in known}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
    db.commit()
    print(f"-- {kind}, schema version {version}; made by record.py, never edited.")
    print("PRAGMA foreign_keys=OFF;")
    for line in db.iterdump():
        if "sqlite_sequence" not in line:
            print(line)
    print(f"PRAGMA user_version={version};")


main()
