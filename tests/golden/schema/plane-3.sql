-- plane, schema version 3; made by record.py, never edited.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE admin_chain (
  seq INTEGER PRIMARY KEY,
  ts INTEGER NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "admin_chain" VALUES(0,1000,'ah','{}');
CREATE TABLE blob_gc (                      -- recorded in the admin chain, not yet removed
  hash TEXT NOT NULL PRIMARY KEY,
  marked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE blob_refs (
  hash TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  PRIMARY KEY (hash, run_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "blob_refs" VALUES('abababababababababababababababababababababababababababababababab','run_done');
CREATE TABLE claim_tokens (                 -- the replay ledger
  nonce TEXT NOT NULL PRIMARY KEY,
  run_id TEXT NOT NULL,
  runner_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE consents (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  requirement TEXT NOT NULL,
  approvers TEXT NOT NULL,                  -- JSON array: who may grant it
  actor TEXT,                               -- JSON {kind,id}: who did
  granted_at INTEGER,
  PRIMARY KEY (run_id, requirement)
) STRICT, WITHOUT ROWID;
CREATE TABLE declined_offers (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  runner_id TEXT NOT NULL,
  until INTEGER NOT NULL,                          -- not offered to this runner again before
  reason TEXT NOT NULL,
  PRIMARY KEY (run_id, runner_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE enroll_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  pool TEXT,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_by_key TEXT,
  used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,                       -- JSON of the whole event
  PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES('run_done',0,1000,'eh','{"seq":0}');
CREATE TABLE late_receipts (
  run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs(run_id) ON DELETE CASCADE,
  receipt TEXT NOT NULL,                           -- JSON, signed by the runner only
  events TEXT NOT NULL,                            -- JSON texts joined by commas: after open_events
  received_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('policy_hash','ph');
CREATE TABLE policies (
  policy_hash TEXT NOT NULL PRIMARY KEY,
  body TEXT NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE principals (
  name TEXT NOT NULL PRIMARY KEY,
  roles TEXT NOT NULL,                      -- JSON array
  token_hash TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;
INSERT INTO "principals" VALUES('ci','["requester"]','p1',1000,NULL);
CREATE TABLE rates (
  bucket TEXT NOT NULL PRIMARY KEY,
  full_at INTEGER NOT NULL                  -- microseconds: when the bucket is full again
) STRICT, WITHOUT ROWID;
CREATE TABLE retired_runner_keys (
  public_key TEXT NOT NULL,
  runner_id TEXT NOT NULL REFERENCES runners(runner_id),
  key_id TEXT NOT NULL,
  retired_at INTEGER NOT NULL,
  PRIMARY KEY (runner_id, public_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE runner_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  runner_id TEXT NOT NULL REFERENCES runners(runner_id),
  issued_at INTEGER NOT NULL,
  revoked_at INTEGER
, replaces TEXT, used_at INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO "runner_tokens" VALUES('h1','rnr_1',1000,NULL,NULL,NULL);
CREATE TABLE runners (
  runner_id TEXT NOT NULL PRIMARY KEY,
  pool TEXT NOT NULL,
  key_id TEXT NOT NULL,
  public_key TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  revoked_at INTEGER, rotate_asked_at INTEGER,
  UNIQUE (public_key, pool)
) STRICT;
INSERT INTO "runners" VALUES('rnr_1','default','k_1','PEM-1',1000,NULL,NULL);
CREATE TABLE runs (
  ord INTEGER PRIMARY KEY AUTOINCREMENT,    -- the order of the queue
  run_id TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL CHECK (status IN ('created','claimed','provisioning','running',
                                         'awaiting_approval','completed','failed','cancelled')),
  pool TEXT NOT NULL,
  agent_kind TEXT NOT NULL,
  prompt TEXT NOT NULL,
  requested_by TEXT NOT NULL,               -- JSON {kind,id}
  submitted_by TEXT NOT NULL,               -- the principal
  request TEXT NOT NULL,                    -- JSON, as accepted
  decision TEXT NOT NULL,                   -- allow or ask
  reason TEXT NOT NULL,
  requirements TEXT NOT NULL,               -- JSON array of words
  policy_hash TEXT NOT NULL,
  contract TEXT,                            -- JSON; null until every consent is given
  contract_hash TEXT,
  expires_at INTEGER NOT NULL,              -- of the contract, or of the wait for approval
  timeout_ms INTEGER NOT NULL,
  disclosure TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  runner_id TEXT,
  cancel_actor TEXT,                        -- JSON {kind,id}: cancellation was asked for
  failure TEXT,                             -- the plane ended it: a sentence
  receipt TEXT,
  artifacts_pruned INTEGER NOT NULL DEFAULT 0
, runner_key TEXT, offered_to TEXT, offer_nonce TEXT, offered_until INTEGER, claim_nonce TEXT, lease_until INTEGER, seen_at INTEGER, closed_reason TEXT, open_events INTEGER, attempt INTEGER NOT NULL DEFAULT 1, retry_of TEXT, retried_as TEXT) STRICT;
INSERT INTO "runs" VALUES(1,'run_done','completed','default','mock','done','{"kind":"human","id":"a"}','ci','{}','allow','','[]','ph','{}','ch',9000,1000,'full',1000,2000,'rnr_1',NULL,NULL,'{}',0,'PEM-1',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL);
INSERT INTO "runs" VALUES(2,'run_new','created','default','mock','new','{"kind":"human","id":"a"}','ci','{}','allow','','[]','ph',NULL,NULL,9000,1000,'full',1000,1000,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL);
CREATE TABLE secrets (
  name TEXT NOT NULL,
  scope TEXT NOT NULL,
  source TEXT NOT NULL,                     -- JSON: kind and where, never a value
  sealed BLOB,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;
INSERT INTO "secrets" VALUES('TOKEN','default','{}',X'0001',1000);
CREATE INDEX runs_queue ON runs (pool, ord) WHERE status = 'created';
CREATE INDEX runs_open ON runs (expires_at) WHERE status IN ('created','awaiting_approval');
CREATE INDEX runs_ended ON runs (updated_at) WHERE status IN ('completed','failed','cancelled');
CREATE INDEX events_by_time ON events (ts);
CREATE INDEX blob_refs_by_run ON blob_refs (run_id);
CREATE INDEX runs_claimed ON runs (runner_id) WHERE status IN ('claimed','provisioning','running');
CREATE INDEX runs_offered ON runs (offered_to) WHERE offered_to IS NOT NULL;
CREATE INDEX claim_tokens_by_run ON claim_tokens (run_id);
CREATE INDEX runner_tokens_replaced ON runner_tokens (replaces) WHERE replaces IS NOT NULL;
COMMIT;
PRAGMA user_version=3;
