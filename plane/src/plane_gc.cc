// The terms of the policy's retention, and the collection of blobs that no run needs any more.
//
// A blob goes in three steps, alone with the blob folder (BlobStore::Collecting): it is named in
// the admin chain and in blob_gc, in one transaction; it is unlinked, inside another one that looks
// again whether a run names it, so that no run can name it in between; its row goes. Whatever is
// killed and whenever, the next collection ends what was begun: a blob that is there no more is
// forgotten, one that came back or was named meanwhile stays, and the chain says so.
#include <algorithm>

#include "plane_impl.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kShortestTermMs = 3'600'000;  // an upload has an hour to be named by a run
constexpr std::int64_t kCollectEveryMs = 600'000;    // a look at every blob there is
constexpr std::size_t kPerStep = 500;
constexpr const char* kActor = "policy retention";
constexpr const char* kEnded = "status IN ('completed','failed','cancelled')";

struct Terms {
  WallTime now;
  std::int64_t receipts_before = 0;
  std::int64_t artifacts_before = 0;
};

// Artifacts never outlive their receipt's term.
Terms TermsOf(const protocol::Policy& policy, WallTime now) {
  const std::int64_t receipts = policy.receipts_days * kDayMs;
  const std::int64_t artifacts =
      std::max<std::int64_t>(std::min(policy.artifacts_days * kDayMs, receipts), kShortestTermMs);
  return {now, now.unix_ms - receipts, now.unix_ms - artifacts};
}

Result<std::vector<std::string>> Column(store::Query rows) {
  std::vector<std::string> out;
  for (;;) {
    WRIT_ASSIGN(bool row, rows.Next());
    if (!row) return out;
    out.push_back(rows.Text(0));
  }
}

// A blob that no run names may still be an open run's, which has uploaded it and will name it.
Result<WallTime> UnnamedBefore(store::Database& db, const Terms& terms) {
  WRIT_ASSIGN(auto oldest, db.Number("SELECT MIN(created_at) FROM runs WHERE status IN "
                                     "('claimed','provisioning','running')"));
  return WallTime{std::min(terms.artifacts_before, oldest.value_or(INT64_MAX))};
}

class Retention {
 public:
  Retention(Plane::Impl& plane, const Terms& terms) : plane_(plane), terms_(terms) {}

  // Runs whose term is over, and those whose artifacts' term is; false where more are left.
  Result<bool> ReleaseRows(GarbageReport& report) {
    std::vector<std::string> runs, released;
    WRIT_TRY(plane_.store->Write([&](store::Database& db) -> Status {
      runs.clear();
      released.clear();
      const std::string ended = kEnded;
      WRIT_ASSIGN(
          auto old,
          db.Ask(("SELECT run_id FROM runs WHERE updated_at < ? AND " + ended + " LIMIT ?").c_str(),
                 terms_.receipts_before, kPerStep));
      WRIT_ASSIGN(runs, Column(std::move(old)));
      for (const auto& run : runs) {
        for (const char* sql :
             {"DELETE FROM claim_tokens WHERE run_id = ?", "DELETE FROM runs WHERE run_id = ?"}) {
          WRIT_TRY(db.Do(sql, run));
        }
      }
      WRIT_ASSIGN(auto stale, db.Ask(("SELECT run_id FROM runs WHERE updated_at < ? AND "
                                      "artifacts_pruned = 0 AND " +
                                      ended + " LIMIT ?")
                                         .c_str(),
                                     terms_.artifacts_before, kPerStep));
      WRIT_ASSIGN(released, Column(std::move(stale)));
      for (const auto& run : released) {
        for (const char* sql : {"DELETE FROM blob_refs WHERE run_id = ?",
                                "UPDATE runs SET artifacts_pruned = 1 WHERE run_id = ?"}) {
          WRIT_TRY(db.Do(sql, run));
        }
      }
      WRIT_TRY(db.Do("DELETE FROM rates WHERE full_at < ?", (terms_.now.unix_ms - kDayMs) * 1000));
      if (runs.empty() && released.empty()) return {};
      return Record(db, {{"runsRemoved", json::Value::Texts(runs)},
                         {"artifactsReleased", json::Value::Texts(released)}});
    }));
    for (const auto& run : runs) plane_.logs.Remove(run);
    report.runs += runs.size();
    report.artifacts += released.size();
    return runs.size() < kPerStep && released.size() < kPerStep;
  }

  // What a collection that was killed has left, then all that no run names any more.
  Status CollectBlobs(GarbageReport& report) {
    WRIT_TRY(EndWhatWasBegun());
    WRIT_ASSIGN(const WallTime before,
                plane_.store->Read([&](store::Database& db) { return UnnamedBefore(db, terms_); }));
    std::vector<Candidate> candidates;
    WRIT_ASSIGN(auto all,
                plane_.blobs.Survey(before, [&](const std::string& hash, std::uint64_t bytes) {
                  candidates.push_back({hash, bytes});
                }));
    for (std::size_t at = 0; at < candidates.size(); at += kPerStep) {
      const std::size_t end = std::min(candidates.size(), at + kPerStep);
      const std::vector<Candidate> step(candidates.begin() + static_cast<std::ptrdiff_t>(at),
                                        candidates.begin() + static_cast<std::ptrdiff_t>(end));
      WRIT_TRY(CollectStep(step, before, report));
    }
    report.blobs_left = all.count - std::min(all.count, report.blobs);
    report.bytes_left = all.bytes - std::min(all.bytes, report.bytes);
    return {};
  }

  // What the two above would do.
  Status Foresee(GarbageReport& report) {
    return plane_.store->Read([&](store::Database& db) -> Status {
      const std::string ended = kEnded;
      WRIT_ASSIGN(auto runs,
                  db.Number(("SELECT COUNT(*) FROM runs WHERE updated_at < ? AND " + ended).c_str(),
                            terms_.receipts_before));
      WRIT_ASSIGN(auto released,
                  db.Number(("SELECT COUNT(*) FROM runs WHERE updated_at < ? AND updated_at >= ? "
                             "AND artifacts_pruned = 0 AND " +
                             ended)
                                .c_str(),
                            terms_.artifacts_before, terms_.receipts_before));
      report.runs = static_cast<std::uint64_t>(runs.value_or(0));
      report.artifacts = static_cast<std::uint64_t>(released.value_or(0));
      WRIT_ASSIGN(const WallTime before, UnnamedBefore(db, terms_));
      std::vector<Candidate> candidates;
      WRIT_ASSIGN(auto all,
                  plane_.blobs.Survey(before, [&](const std::string& hash, std::uint64_t bytes) {
                    candidates.push_back({hash, bytes});
                  }));
      const std::string kept =
          "SELECT 1 FROM blob_refs b JOIN runs r USING (run_id) WHERE "
          "b.hash = ? AND NOT (r.updated_at < ? AND r." +
          ended + ") LIMIT 1";
      for (const Candidate& candidate : candidates) {
        WRIT_ASSIGN(auto needed, db.Number(kept.c_str(), candidate.hash, terms_.artifacts_before));
        if (needed) continue;
        ++report.blobs;
        report.bytes += candidate.bytes;
      }
      report.blobs_left = all.count - report.blobs;
      report.bytes_left = all.bytes - report.bytes;
      return {};
    });
  }

 private:
  struct Candidate {
    std::string hash;
    std::uint64_t bytes;
  };

  Status Record(store::Database& db, json::Object fields) const {
    return AppendAdminEntry(db, plane_.keys.plane_key_id, terms_.now, "admin.retention.applied",
                            kActor, std::move(fields));
  }

  Status CollectStep(const std::vector<Candidate>& candidates, WallTime before,
                     GarbageReport& report) {
    WRIT_ASSIGN(auto folder, plane_.blobs.Collect());
    std::vector<Candidate> marked;
    WRIT_TRY(plane_.store->Write([&](store::Database& db) -> Status {
      marked.clear();
      json::Array names;
      for (const auto& candidate : candidates) {
        WRIT_ASSIGN(auto named,
                    db.Number("SELECT 1 FROM blob_refs WHERE hash = ? LIMIT 1", candidate.hash));
        if (named || !folder.IsOlder(candidate.hash, before)) continue;
        WRIT_TRY(db.Do("INSERT OR IGNORE INTO blob_gc (hash, marked_at) VALUES (?,?)",
                       candidate.hash, before.unix_ms));
        names.emplace_back(candidate.hash);
        marked.push_back(candidate);
      }
      return names.empty() ? Status() : Record(db, {{"blobsRemoved", std::move(names)}});
    }));
    if (marked.empty()) return {};
    WRIT_FAULT_TRY("plane.gc.recorded");
    WRIT_TRY(Settle(folder));
    for (const auto& candidate : marked) {
      if (plane_.blobs.Contains(candidate.hash)) continue;  // a run named it after all
      ++report.blobs;
      report.bytes += candidate.bytes;
    }
    return {};
  }

  Status EndWhatWasBegun() {
    WRIT_ASSIGN(auto begun, plane_.store->Read([](store::Database& db) {
      return db.Number("SELECT 1 FROM blob_gc LIMIT 1");
    }));
    if (!begun) return {};
    // Nobody else is at it once we have the folder: the rows are a dead collection's.
    WRIT_ASSIGN(auto folder, plane_.blobs.Collect());
    return Settle(folder);
  }

  // Removes what is marked, and the marks.
  Status Settle(BlobStore::Collecting& folder) {
    WRIT_TRY(plane_.store->Write([&](store::Database& db) -> Status {
      json::Array kept;
      WRIT_ASSIGN(auto rows, db.Ask("SELECT hash, marked_at FROM blob_gc"));
      std::vector<std::pair<std::string, WallTime>> marks;
      for (;;) {
        WRIT_ASSIGN(bool row, rows.Next());
        if (!row) break;
        marks.emplace_back(rows.Text(0), WallTime{rows.Int(1)});
      }
      for (const auto& [hash, before] : marks) {
        if (!plane_.blobs.Contains(hash)) continue;
        WRIT_ASSIGN(auto named, db.Number("SELECT 1 FROM blob_refs WHERE hash = ? LIMIT 1", hash));
        if (!named && folder.IsOlder(hash, before)) {
          WRIT_TRY(folder.Remove(hash));
        } else {
          kept.emplace_back(hash);
        }
      }
      return kept.empty() ? Status() : Record(db, {{"blobsKept", std::move(kept)}});
    }));
    WRIT_TRY(folder.Flush());
    WRIT_FAULT_TRY("plane.gc.removed");
    return plane_.store->Write([](store::Database& db) -> Status {
      WRIT_TRY(db.Do("DELETE FROM blob_gc"));
      return {};
    });
  }

  Plane::Impl& plane_;
  const Terms terms_;
};

void Note(PlaneMetrics& metrics, const GarbageReport& report) {
  metrics.Add(Family::kCollected, {{"what", "runs"}}, report.runs);
  metrics.Add(Family::kCollected, {{"what", "artifacts"}}, report.artifacts);
  metrics.Add(Family::kCollected, {{"what", "blobs"}}, report.blobs);
  metrics.Add(Family::kCollectedBytes, {}, report.bytes);
}

void NoteBlobs(PlaneMetrics& metrics, const GarbageReport& report, WallTime now) {
  metrics.Set(Family::kBlobs, {}, static_cast<double>(report.blobs_left));
  metrics.Set(Family::kBlobBytes, {}, static_cast<double>(report.bytes_left));
  metrics.Set(Family::kCollectedAt, {}, static_cast<double>(now.unix_ms) / 1000);
}

}  // namespace

Status Plane::Impl::SweepRetention() {
  auto policy = policy_keeper.Current();
  if (!policy) return {};  // without a policy nothing is deleted; Ready says what is wrong with it
  const WallTime now = clock.Now();
  Retention retention(*this, TermsOf((*policy)->policy, now));
  GarbageReport report;
  WRIT_ASSIGN([[maybe_unused]] bool done, retention.ReleaseRows(report));
  WRIT_ASSIGN(auto last, store->Read([](store::Database& db) {
    return db.Number("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'collected_at'");
  }));
  // Also where the clock was set back.
  if (last && *last <= now.unix_ms && now.unix_ms - *last < kCollectEveryMs) {
    Note(*metrics, report);
    return {};
  }
  WRIT_TRY(retention.CollectBlobs(report));
  Note(*metrics, report);
  NoteBlobs(*metrics, report, now);
  return store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('collected_at', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              std::to_string(now.unix_ms)));
    return {};
  });
}

Result<GarbageReport> Plane::CollectGarbage(GarbageMode mode) {
  WRIT_ASSIGN(auto policy, impl_->policy_keeper.Current());
  const WallTime now = impl_->clock.Now();
  Retention retention(*impl_, TermsOf(policy->policy, now));
  GarbageReport report;
  if (mode == GarbageMode::kDryRun) {
    WRIT_TRY(retention.Foresee(report));
    return report;
  }
  for (bool done = false; !done;) {
    WRIT_ASSIGN(done, retention.ReleaseRows(report));
  }
  WRIT_TRY(retention.CollectBlobs(report));
  Note(*impl_->metrics, report);
  NoteBlobs(*impl_->metrics, report, now);
  report.parts = impl_->parts.SweepOlder(now + -std::chrono::milliseconds(BlobParts::kTerm));
  return report;
}

}  // namespace writ::plane
