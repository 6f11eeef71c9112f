-- journal, schema version 3; made by record.py, never edited.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE endings (
  ord INTEGER PRIMARY KEY REFERENCES runs(ord) ON DELETE CASCADE,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE events (                       -- ours, behind the plane's
  ord INTEGER NOT NULL REFERENCES runs(ord) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (ord, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES(1,3,'{"seq":3}');
CREATE TABLE parked (
  run_id TEXT NOT NULL PRIMARY KEY,
  at INTEGER NOT NULL,
  status TEXT NOT NULL,
  code TEXT NOT NULL,
  why TEXT NOT NULL,
  late TEXT NOT NULL,                       -- whether the plane keeps it beside its own receipt
  bundle TEXT NOT NULL                      -- JSON
) STRICT;
CREATE TABLE progress (
  ord INTEGER PRIMARY KEY REFERENCES runs(ord) ON DELETE CASCADE,
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open','waiting','damaged')),
  offered INTEGER NOT NULL,                 -- not acknowledged: the run may be nobody's
  claim_token TEXT NOT NULL,
  step TEXT NOT NULL DEFAULT '',
  step_done INTEGER NOT NULL DEFAULT 0,
  step_at INTEGER NOT NULL DEFAULT 0,
  session TEXT NOT NULL DEFAULT '',
  backend TEXT NOT NULL DEFAULT '',
  leftovers TEXT NOT NULL DEFAULT '',
  output_bytes INTEGER NOT NULL DEFAULT 0,
  sent INTEGER NOT NULL DEFAULT 0,          -- events that the plane has
  in_doubt INTEGER NOT NULL DEFAULT 0,      -- end of the batch whose answer is not known
  waiting_since INTEGER NOT NULL DEFAULT 0,
  why_code TEXT NOT NULL DEFAULT '',
  why TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "progress" VALUES(1,'open',0,'t','start',0,0,'','','',7,0,0,0,'','');
CREATE TABLE receipts (
  ord INTEGER PRIMARY KEY REFERENCES runs(ord) ON DELETE CASCADE,
  body TEXT NOT NULL,
  plane_key TEXT NOT NULL,
  runner_key TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
  ord INTEGER PRIMARY KEY AUTOINCREMENT,    -- the order of claims, and of delivery
  run_id TEXT NOT NULL UNIQUE,
  claimed_at INTEGER NOT NULL,              -- unix ms
  extended INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  contract TEXT NOT NULL,                   -- JSON, as it came
  plane_events TEXT NOT NULL                -- JSON array, as it came
) STRICT;
INSERT INTO "runs" VALUES(1,'run_open',1000,1,0,'{}','[]');
CREATE TABLE starts (
  ord INTEGER PRIMARY KEY REFERENCES runs(ord) ON DELETE CASCADE,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE uploads (
  ord INTEGER NOT NULL REFERENCES runs(ord) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,
  data_class TEXT NOT NULL,
  hash TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  uploaded INTEGER NOT NULL DEFAULT 0, path TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (ord, n)
) STRICT, WITHOUT ROWID;
COMMIT;
PRAGMA user_version=3;
