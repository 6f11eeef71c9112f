// Reading back: runs, bundles, the export.
#include "plane_impl.h"
#include "runner_identity.h"
#include "waiting.h"
#include "writ/protocol/bundle.h"

namespace writ::plane {

RunSummary ReadSummary(const store::Query& row, int first) {
  RunSummary out;
  out.run_id = row.Text(first);
  out.status = protocol::ParseRunState(row.Text(first + 1)).value_or(RunState::kFailed);
  out.agent_kind = row.Text(first + 2);
  out.pool = row.Text(first + 3);
  out.prompt = row.Text(first + 4);
  if (auto actor = ParseActor(row.Text(first + 5))) out.requested_by = *actor;
  out.created_at = WallTime{row.Int(first + 6)};
  out.updated_at = WallTime{row.Int(first + 7)};
  if (auto words = json::Parse(row.Text(first + 8)); words && words->is_array()) {
    for (const auto& word : words->array()) out.consent_requirements.push_back(word.string());
  }
  out.has_receipt = row.Int(first + 9) != 0;
  out.cancel_requested = row.Int(first + 10) != 0;
  out.failure = row.Text(first + 11);
  out.closed_reason = row.Text(first + 12);
  out.retry_of = row.Text(first + 13);
  out.retried_as = row.Text(first + 14);
  out.has_late_receipt = row.Int(first + 15) != 0;
  return out;
}

Status Plane::MaySee(const Caller& caller, const std::string& run_id) const {
  if (caller.Has(Role::kApprover)) return {};  // admin implies it
  return impl_->store->Read([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto row, db.Ask("SELECT 1 FROM runs WHERE run_id = ? AND submitted_by = ?", run_id,
                                 caller.name));
    WRIT_ASSIGN(bool own, row.Next());
    return own ? Status() : Status(RunNotFound());
  });
}

Result<std::vector<RunSummary>> Plane::Runs(const std::optional<std::string>& submitted_by) const {
  return impl_->store->Read([&](store::Database& db) -> Result<std::vector<RunSummary>> {
    static const std::string kSql = std::string("SELECT ") + kSummaryColumns +
                                    " FROM runs WHERE ? = '' OR submitted_by = ? ORDER BY ord";
    const std::string owner = submitted_by.value_or("");
    WRIT_ASSIGN(auto rows, db.Ask(kSql.c_str(), owner, owner));
    std::vector<RunSummary> out;
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) break;
      out.push_back(ReadSummary(rows, 0));
    }
    WaitReasons reasons(db, impl_->clock.Now());
    for (RunSummary& run : out) {
      if (run.status != RunState::kCreated) continue;
      WRIT_ASSIGN(run.waiting, reasons.For(run.run_id, run.pool));
    }
    return out;
  });
}

Result<RunDetail> Plane::Run(const std::string& run_id) const {
  return impl_->store->Read([&](store::Database& db) -> Result<RunDetail> {
    static const std::string kSql =
        std::string("SELECT ") + kSummaryColumns + ", contract, receipt FROM runs WHERE run_id = ?";
    WRIT_ASSIGN(auto row, db.Ask(kSql.c_str(), run_id));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return RunNotFound();
    RunDetail out;
    out.summary = ReadSummary(row, 0);
    out.contract = row.Text(kSummaryColumnCount);
    out.receipt = row.Text(kSummaryColumnCount + 1);
    if (out.summary.status == RunState::kCreated) {
      WaitReasons reasons(db, impl_->clock.Now());
      WRIT_ASSIGN(out.summary.waiting, reasons.For(run_id, out.summary.pool));
    }
    WRIT_ASSIGN(out.events, EventTexts(db, run_id));
    return out;
  });
}

Result<RunDetail> Plane::WaitRun(const std::string& run_id, WallTime after,
                                 std::chrono::milliseconds wait) const {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (;;) {
    const auto seen = impl_->changed.Generation();
    WRIT_ASSIGN(auto updated, impl_->store->Read([&](store::Database& db) {
      return db.Number("SELECT updated_at FROM runs WHERE run_id = ?", run_id);
    }));
    if (!updated) return RunNotFound();
    if (*updated > after.unix_ms || !impl_->changed.WaitSlice(seen, deadline)) return Run(run_id);
  }
}

namespace {

// The parts of a bundle as they are stored: nothing is parsed and written anew on the way out.
struct BundleParts {
  std::string contract, receipt, runner_key;
  std::vector<std::string> events;
};

std::string Spliced(const BundleParts& parts, const std::string& plane_public_pem) {
  json::Object keys{{"planePublicKeyPem", plane_public_pem},
                    {"runnerPublicKeyPem", parts.runner_key}};
  std::string out = "{\"version\":\"" + std::string(protocol::kBundleVersion) + "\",\"contract\":";
  out += parts.contract;
  out += ",\"receipt\":";
  out += parts.receipt;
  out += ",\"events\":[";
  for (std::size_t i = 0; i < parts.events.size(); ++i) {
    if (i != 0) out += ',';
    out += parts.events[i];
  }
  out += "],\"keys\":" + json::Write(keys) + "}";
  return out;
}

// The key that issued the contract.
std::string PlanePemOf(const KeyRing& keys, const std::string& contract) {
  if (!keys.manifest || keys.manifest->plane_keys.size() < 2) return keys.plane_public_pem;
  auto value = json::Parse(contract);
  const json::Value* issuer = value ? value->Find("issuer") : nullptr;
  auto id = protocol::KeyId::Parse(issuer ? issuer->FindString("keyId").value_or("") : "");
  auto key = id ? keys.PublicOf(*id) : Result<protocol::PublicKey>(keys.plane_public);
  return key ? key->ToPem() : keys.plane_public_pem;
}

}  // namespace

Result<std::string> Plane::Bundle(const std::string& run_id) const {
  WRIT_ASSIGN(
      BundleParts parts, impl_->store->Read([&](store::Database& db) -> Result<BundleParts> {
        BundleParts out;
        WRIT_ASSIGN(
            auto found,
            db.Ask("SELECT contract, receipt, runner_key, status IN ('failed', 'cancelled') "
                   "FROM runs WHERE run_id = ?",
                   run_id));
        WRIT_ASSIGN(bool any, found.Next());
        if (!any) return RunNotFound();
        if (found.Null(1)) {
          const bool ended = found.Int(3) != 0;
          return Error{.kind = ErrorKind::kNotFound,
                       .code = "run.no_receipt",
                       .message = "run " + run_id +
                                  (ended ? " ended before a runner had it, so it has no receipt"
                                         : " has no receipt yet")};
        }
        out.contract = found.Text(0);
        out.receipt = found.Text(1);
        out.runner_key = found.Text(2);
        WRIT_ASSIGN(out.events, EventTexts(db, run_id));
        return out;
      }));
  return Spliced(parts, PlanePemOf(impl_->keys, parts.contract));
}

Result<std::string> Plane::LateBundle(const std::string& run_id) const {
  WRIT_ASSIGN(BundleParts parts,
              impl_->store->Read([&](store::Database& db) -> Result<BundleParts> {
                BundleParts out;
                WRIT_ASSIGN(auto found,
                            db.Ask("SELECT r.contract, l.receipt, r.runner_key, r.open_events, "
                                   "l.events FROM runs r LEFT JOIN late_receipts l USING (run_id) "
                                   "WHERE r.run_id = ?",
                                   run_id));
                WRIT_ASSIGN(bool any, found.Next());
                if (!any) return RunNotFound();
                if (found.Null(1)) {
                  return Error{.kind = ErrorKind::kNotFound,
                               .code = "run.no_late_receipt",
                               .message = "run " + run_id + " has no late receipt",
                               .hint =
                                   "a run has one where its lost runner came back after all; "
                                   "without --late there is its own bundle"};
                }
                out.contract = found.Text(0);
                out.receipt = found.Text(1);
                out.runner_key = found.Text(2);
                WRIT_ASSIGN(out.events, EventTexts(db, run_id));
                out.events.resize(static_cast<std::size_t>(found.Int(3)));
                if (auto late = found.Text(4); !late.empty()) out.events.push_back(std::move(late));
                return out;
              }));
  return Spliced(parts, PlanePemOf(impl_->keys, parts.contract));
}

Status Plane::Export(WallTime since, const std::function<Status(std::string_view)>& write) const {
  return impl_->store->Read([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto rows,
                db.Ask("SELECT e.run_id, e.body FROM events e JOIN runs r USING (run_id) "
                       "WHERE e.ts >= ? ORDER BY r.ord, e.seq",
                       since.unix_ms));
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) break;
      WRIT_TRY(write("{\"runId\":" + json::Write(json::Value(rows.Text(0))) + "," +
                     rows.Text(1).substr(1)));
    }
    WRIT_ASSIGN(auto entries,
                db.Ask("SELECT body FROM admin_chain WHERE ts >= ? ORDER BY seq", since.unix_ms));
    for (;;) {
      WRIT_ASSIGN(bool row, entries.Next());
      if (!row) break;
      WRIT_TRY(write("{\"chain\":\"admin\"," + entries.Text(0).substr(1)));
    }
    WRIT_ASSIGN(auto head, AdminHead(db, impl_->keys.plane_key_id));
    if (head.next_seq == 0) return {};
    json::Object line{{"chain", "admin"},
                      {"head", head.head},
                      {"count", head.next_seq},
                      {"planeKeyId", impl_->keys.plane_key_id}};
    WRIT_ASSIGN(auto genesis, db.Value("SELECT value FROM meta WHERE name = 'genesis_key_id'"));
    if (genesis && *genesis != impl_->keys.plane_key_id) line.Set("genesisKeyId", *genesis);
    auto signature = protocol::SignDigest(impl_->keys.plane, protocol::Signer::kPlane,
                                          protocol::HashValue(json::Value(line)));
    line.Set("signatures", protocol::SignaturesToJson({signature}));
    return write(json::Write(json::Value(line)));
  });
}

}  // namespace writ::plane
