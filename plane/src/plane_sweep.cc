// What time ends: contracts that nobody claimed and approvals that nobody gave, lost runs, and the
// terms of the policy's retention (plane_gc.cc).
#include "plane_impl.h"
#include "waiting.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

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
  struct Unclaimed {
    std::string run_id;
    Waiting why;
  };
  struct Expired {
    std::vector<Unclaimed> unclaimed;
    std::vector<std::string> unapproved;
  };
  WRIT_ASSIGN(Expired expired, store->Read([&](store::Database& db) -> Result<Expired> {
    Expired out;
    WaitReasons reasons(db, WallTime{now});
    WRIT_ASSIGN(auto rows, db.Ask("SELECT run_id, pool FROM runs WHERE status = 'created' AND "
                                  "expires_at <= ? LIMIT ?",
                                  now, kPerSweep));
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) break;
      const std::string run_id = rows.Text(0);
      WRIT_ASSIGN(Waiting why, reasons.For(run_id, rows.Text(1)));
      out.unclaimed.push_back({run_id, std::move(why)});
    }
    WRIT_ASSIGN(out.unapproved, Column(db,
                                       "SELECT run_id FROM runs WHERE status = "
                                       "'awaiting_approval' AND expires_at <= ? LIMIT ?",
                                       now));
    return out;
  }));
  auto end = [&](const std::string& run, RunState state, protocol::FailureClass failure,
                 const std::string& message) -> Status {
    auto ended = EndUnclaimed(run, state, failure, message);
    if (!ended && ended.error().kind != ErrorKind::kConflict) return ended;
    return {};
  };
  for (const Unclaimed& run : expired.unclaimed) {
    const bool unmet = run.why.code == "wait.no_fit" || run.why.code == "wait.no_runner";
    WRIT_TRY(end(run.run_id, RunState::kCreated,
                 run.why.code == "wait.no_fit" ? protocol::FailureClass::kCapabilityMismatch
                                               : protocol::FailureClass::kSessionFailed,
                 "no runner claimed the contract before it expired" +
                     (unmet ? ": " + run.why.message : std::string())));
  }
  for (const auto& run : expired.unapproved) {
    WRIT_TRY(end(run, RunState::kAwaitingApproval, protocol::FailureClass::kConsentTimeout,
                 "nobody approved the run in time"));
  }
  return {};
}

Status Plane::Sweep() {
  WRIT_TRY(impl_->SweepExpired());
  WRIT_TRY(impl_->CloseLostRuns());
  WRIT_TRY(impl_->SweepRetention());
  impl_->blobs.SweepTemporary();
  (void)impl_->parts.SweepOlder(impl_->clock.Now() + -std::chrono::milliseconds(BlobParts::kTerm));
  impl_->logs.SweepOlder(impl_->clock.Now() + std::chrono::hours(-24 * 7));
  return {};
}

}  // namespace writ::plane
