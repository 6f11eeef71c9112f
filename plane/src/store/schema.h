// The schema, as the list of steps that made it. A step that has shipped is never edited: a change
// is a new step at the end.
#pragma once

#include <array>

namespace writ::plane::store {

inline constexpr std::array kMigrations = {
    // 1: runs, chains, runners, tokens, principals, secrets, rates, the admin chain.
    R"sql(
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
) STRICT;
CREATE INDEX runs_queue ON runs (pool, ord) WHERE status = 'created';
CREATE INDEX runs_open ON runs (expires_at) WHERE status IN ('created','awaiting_approval');
CREATE INDEX runs_ended ON runs (updated_at) WHERE status IN ('completed','failed','cancelled');
CREATE TABLE consents (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  requirement TEXT NOT NULL,
  approvers TEXT NOT NULL,                  -- JSON array: who may grant it
  actor TEXT,                               -- JSON {kind,id}: who did
  granted_at INTEGER,
  PRIMARY KEY (run_id, requirement)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,                       -- JSON of the whole event
  PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_time ON events (ts);
CREATE TABLE runners (
  runner_id TEXT NOT NULL PRIMARY KEY,
  pool TEXT NOT NULL,
  key_id TEXT NOT NULL,
  public_key TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  revoked_at INTEGER,
  UNIQUE (public_key, pool)
) STRICT;
CREATE TABLE runner_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  runner_id TEXT NOT NULL REFERENCES runners(runner_id),
  issued_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE enroll_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  pool TEXT,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_by_key TEXT,
  used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE principals (
  name TEXT NOT NULL PRIMARY KEY,
  roles TEXT NOT NULL,                      -- JSON array
  token_hash TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;
CREATE TABLE claim_tokens (                 -- the replay ledger
  nonce TEXT NOT NULL PRIMARY KEY,
  run_id TEXT NOT NULL,
  runner_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE secrets (
  name TEXT NOT NULL,
  scope TEXT NOT NULL,
  source TEXT NOT NULL,                     -- JSON: kind and where, never a value
  sealed BLOB,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;
CREATE TABLE rates (
  bucket TEXT NOT NULL PRIMARY KEY,
  full_at INTEGER NOT NULL                  -- microseconds: when the bucket is full again
) STRICT, WITHOUT ROWID;
CREATE TABLE blob_refs (
  hash TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  PRIMARY KEY (hash, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_refs_by_run ON blob_refs (run_id);
CREATE TABLE admin_chain (
  seq INTEGER PRIMARY KEY,
  ts INTEGER NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE policies (
  policy_hash TEXT NOT NULL PRIMARY KEY,
  body TEXT NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql",
    // 2: offers, leases, runs that the plane closed, late receipts, rotated runner keys.
    R"sql(
ALTER TABLE runs ADD COLUMN runner_key TEXT;       -- PEM, as it was at the claim
ALTER TABLE runs ADD COLUMN offered_to TEXT;       -- runner id; the run is still `created`
ALTER TABLE runs ADD COLUMN offer_nonce TEXT;
ALTER TABLE runs ADD COLUMN offered_until INTEGER;
ALTER TABLE runs ADD COLUMN claim_nonce TEXT;      -- of the token that acknowledged
ALTER TABLE runs ADD COLUMN lease_until INTEGER;   -- null: a claim without a lease
ALTER TABLE runs ADD COLUMN seen_at INTEGER;       -- the runner's last call
ALTER TABLE runs ADD COLUMN closed_reason TEXT;    -- the plane closed it in the runner's place
ALTER TABLE runs ADD COLUMN open_events INTEGER;   -- how many events there were before that
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN retry_of TEXT;
ALTER TABLE runs ADD COLUMN retried_as TEXT;
UPDATE runs SET runner_key = (SELECT public_key FROM runners r WHERE r.runner_id = runs.runner_id)
  WHERE runner_id IS NOT NULL;
CREATE INDEX runs_claimed ON runs (runner_id) WHERE status IN ('claimed','provisioning','running');
CREATE INDEX runs_offered ON runs (offered_to) WHERE offered_to IS NOT NULL;
CREATE INDEX claim_tokens_by_run ON claim_tokens (run_id);
CREATE TABLE declined_offers (
  run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
  runner_id TEXT NOT NULL,
  until INTEGER NOT NULL,                          -- not offered to this runner again before
  reason TEXT NOT NULL,
  PRIMARY KEY (run_id, runner_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE late_receipts (
  run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs(run_id) ON DELETE CASCADE,
  receipt TEXT NOT NULL,                           -- JSON, signed by the runner only
  events TEXT NOT NULL,                            -- JSON texts joined by commas: after open_events
  received_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE runners ADD COLUMN rotate_asked_at INTEGER;
ALTER TABLE runner_tokens ADD COLUMN replaces TEXT; -- the token hash that ends with the first use
ALTER TABLE runner_tokens ADD COLUMN used_at INTEGER;
CREATE INDEX runner_tokens_replaced ON runner_tokens (replaces) WHERE replaces IS NOT NULL;
CREATE TABLE retired_runner_keys (
  public_key TEXT NOT NULL,
  runner_id TEXT NOT NULL REFERENCES runners(runner_id),
  key_id TEXT NOT NULL,
  retired_at INTEGER NOT NULL,
  PRIMARY KEY (runner_id, public_key)
) STRICT, WITHOUT ROWID;
)sql",
    // 3: the journal of the collection of blobs.
    R"sql(
CREATE TABLE blob_gc (                      -- recorded in the admin chain, not yet removed
  hash TEXT NOT NULL PRIMARY KEY,
  marked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql",
    // 4: what runs want and runners say that they can do.
    R"sql(
ALTER TABLE runs ADD COLUMN wants TEXT;            -- JSON (matching.h); null: offered to anybody
ALTER TABLE runners ADD COLUMN capabilities TEXT;  -- JSON as last sent; null: it sends none
ALTER TABLE runners ADD COLUMN heard_at INTEGER;   -- its last claim, give or take a minute
)sql",
};

}  // namespace writ::plane::store
