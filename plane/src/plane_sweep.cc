// What time ends: contracts that nobody claimed, approvals that nobody gave, and the terms of the
// policy's retention.
#include "plane_impl.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
constexpr int kPerSweep = 500;

Result<std::vector<std::string>> Column(store::Database& db, const char* sql, std::int64_t before) {
  WRIT_ASSIGN(auto rows, db.Ask(sql, before, kPerSweep));
  std::vector<std::string> out;
  for (;;) {
    WRIT_ASSIGN(bool row, rows.Next());
    if (!row) return out;
    out.push_back(rows.Text(0));
  }
}

}  // namespace

Status Plane::Impl::SweepExpired() {
  const std::int64_t now = clock.Now().unix_ms;
  struct Expired {
    std::vector<std::string> unclaimed, unapproved;
  };
  WRIT_ASSIGN(Expired expired, store->Read([&](store::Database& db) -> Result<Expired> {
    Expired out;
    WRIT_ASSIGN(out.unclaimed, Column(db,
                                      "SELECT run_id FROM runs WHERE status = 'created' AND "
                                      "expires_at <= ? LIMIT ?",
                                      now));
    WRIT_ASSIGN(out.unapproved, Column(db,
                                       "SELECT run_id FROM runs WHERE status = "
                                       "'awaiting_approval' AND expires_at <= ? LIMIT ?",
                                       now));
    return out;
  }));
  auto end = [&](const std::string& run, RunState state, protocol::FailureClass failure,
                 const char* message) -> Status {
    auto ended = EndUnclaimed(run, state, failure, message);
    if (!ended && ended.error().kind != ErrorKind::kConflict) return ended;
    return {};
  };
  for (const auto& run : expired.unclaimed) {
    WRIT_TRY(end(run, RunState::kCreated, protocol::FailureClass::kSessionFailed,
                 "no runner claimed the contract before it expired"));
  }
  for (const auto& run : expired.unapproved) {
    WRIT_TRY(end(run, RunState::kAwaitingApproval, protocol::FailureClass::kConsentTimeout,
                 "nobody approved the run in time"));
  }
  return {};
}

Status Plane::Impl::SweepRetention() {
  auto policy = policy_keeper.Current();
  if (!policy) return {};  // without a policy nothing is deleted; Ready says what is wrong with it
  const auto& terms = (*policy)->policy;
  const WallTime now = clock.Now();
  const std::int64_t receipts_before = now.unix_ms - terms.receipts_days * kDayMs;
  // Artifacts never outlive their receipt's term; an upload has an hour to be named by a run.
  const std::int64_t artifact_term = std::max<std::int64_t>(
      std::min(terms.artifacts_days, terms.receipts_days) * kDayMs, 3'600'000);
  const std::int64_t artifacts_before = now.unix_ms - artifact_term;
  json::Array runs;
  json::Array pruned;
  WRIT_TRY(store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto old, Column(db,
                                 "SELECT run_id FROM runs WHERE updated_at < ? AND status IN "
                                 "('completed','failed','cancelled') LIMIT ?",
                                 receipts_before));
    for (const auto& run : old) {
      for (const char* sql :
           {"DELETE FROM claim_tokens WHERE run_id = ?", "DELETE FROM runs WHERE run_id = ?"}) {
        WRIT_ASSIGN(int gone, db.Run(sql, run));
        (void)gone;
      }
      runs.emplace_back(run);
    }
    WRIT_ASSIGN(auto stale, Column(db,
                                   "SELECT run_id FROM runs WHERE updated_at < ? AND "
                                   "artifacts_pruned = 0 AND status IN "
                                   "('completed','failed','cancelled') LIMIT ?",
                                   artifacts_before));
    for (const auto& run : stale) {
      for (const char* sql : {"DELETE FROM blob_refs WHERE run_id = ?",
                              "UPDATE runs SET artifacts_pruned = 1 WHERE run_id = ?"}) {
        WRIT_ASSIGN(int changed_rows, db.Run(sql, run));
        (void)changed_rows;
      }
      pruned.emplace_back(run);
    }
    WRIT_ASSIGN(int idle,
                db.Run("DELETE FROM rates WHERE full_at < ?", (now.unix_ms - kDayMs) * 1000));
    (void)idle;
    if (runs.empty() && pruned.empty()) return {};
    return AppendAdminEntry(db, keys.plane_key_id, now, "admin.retention.applied",
                            "policy retention",
                            {{"runsRemoved", runs}, {"artifactsReleased", pruned}});
  }));
  for (const auto& run : runs) logs.Remove(run.string());

  std::vector<std::string> candidates;
  WRIT_TRY(blobs.ForEachOlder(WallTime{artifacts_before}, [&](const std::string& hash) -> Status {
    if (candidates.size() < kPerSweep) candidates.push_back(hash);
    return {};
  }));
  if (candidates.empty()) return {};
  // Within a transaction, so that no run can name a blob between the look and the deletion. The
  // record comes first: a crash in between leaves a blob that the next sweep removes, and two
  // records.
  return store->Write([&](store::Database& db) -> Status {
    json::Array gone;
    for (const auto& hash : candidates) {
      WRIT_ASSIGN(auto used, db.Number("SELECT 1 FROM blob_refs WHERE hash = ? LIMIT 1", hash));
      if (used) {
        continue;
      }
      WRIT_ASSIGN(bool removed, blobs.RemoveIfOlder(hash, WallTime{artifacts_before}));
      if (removed) gone.emplace_back(hash);
    }
    if (gone.empty()) return {};
    return AppendAdminEntry(db, keys.plane_key_id, now, "admin.retention.applied",
                            "policy retention", {{"blobsRemoved", gone}});
  });
}

Status Plane::Sweep() {
  WRIT_TRY(impl_->SweepExpired());
  WRIT_TRY(impl_->CloseLostRuns());
  WRIT_TRY(impl_->SweepRetention());
  impl_->blobs.SweepTemporary(impl_->clock.Now());
  impl_->logs.SweepOlder(impl_->clock.Now() + std::chrono::hours(-24 * 7));
  return {};
}

}  // namespace writ::plane
