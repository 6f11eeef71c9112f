#include "plane_metrics.h"

#include <algorithm>
#include <iterator>

#include "plane_impl.h"

namespace writ::plane {
namespace {

using status::MetricFamily;
using status::MetricType;

// In the order of Family.
constexpr MetricFamily kFamilies[] = {
    {"writ_plane_runs_ended_total", "Runs that ended, by status and by whom.",
     MetricType::kCounter},
    {"writ_plane_runs", "Runs that have not ended, by state.", MetricType::kGauge},
    {"writ_plane_queue_wait_seconds", "From the issue of a contract to its claim.",
     MetricType::kHistogram},
    {"writ_plane_claims_total", "Offers, acknowledgements, claims at once, and declined offers.",
     MetricType::kCounter},
    {"writ_plane_leases", "Leases of claimed runs, held and overdue.", MetricType::kGauge},
    {"writ_plane_lease_renewals_total", "Leases that were renewed.", MetricType::kCounter},
    {"writ_plane_receipts_total", "Receipts: countersigned, signed by the plane alone, late.",
     MetricType::kCounter},
    {"writ_plane_uploads_total", "Uploads of blobs, whole or in pieces, by result.",
     MetricType::kCounter},
    {"writ_plane_upload_bytes_total", "Bytes of uploads that were taken.", MetricType::kCounter},
    {"writ_plane_blobs", "Blobs, as of the last collection.", MetricType::kGauge},
    {"writ_plane_blob_bytes", "Bytes of blobs, as of the last collection.", MetricType::kGauge},
    {"writ_plane_retention_removed_total", "What the policy's terms have let go.",
     MetricType::kCounter},
    {"writ_plane_retention_removed_bytes_total", "Bytes of the blobs among them.",
     MetricType::kCounter},
    {"writ_plane_retention_last_seconds", "When blobs were last collected, in Unix time.",
     MetricType::kGauge},
    {"writ_plane_sweep_failures_total", "Sweeps that ended in an error.", MetricType::kCounter},
    {"writ_plane_requests_total", "Requests, by route and status.", MetricType::kCounter},
    {"writ_plane_refused_requests_total",
     "Requests with a wrong credential, also while their address backs off, or without the right.",
     MetricType::kCounter},
    {"writ_plane_connections", "Connections now.", MetricType::kGauge},
    {"writ_plane_connections_turned_away_total", "Connections over a limit.", MetricType::kCounter},
    {"writ_plane_runners", "Enrolled runners, by state.", MetricType::kGauge},
    {"writ_plane_ready", "1 where runs can be taken and given out.", MetricType::kGauge},
};
static_assert(std::size(kFamilies) == static_cast<std::size_t>(Family::kReady) + 1);

constexpr std::pair<const char*, const char*> kOpenRuns[] = {
    {"awaiting_approval", "SELECT COUNT(*) FROM runs WHERE status = 'awaiting_approval'"},
    {"queued",
     "SELECT COUNT(*) FROM runs WHERE status = 'created' AND "
     "(offered_until IS NULL OR offered_until <= ?1)"},
    {"offered", "SELECT COUNT(*) FROM runs WHERE status = 'created' AND offered_until > ?1"},
    {"claimed", "SELECT COUNT(*) FROM runs WHERE status IN ('claimed','provisioning','running')"},
};

}  // namespace

PlaneMetrics::PlaneMetrics() : status::Metrics<Family>(kFamilies) {}

PlaneMetrics& Plane::metrics() const {
  return *impl_->metrics;
}

Result<std::string> Plane::MetricsText() const {
  PlaneMetrics& out = *impl_->metrics;
  const std::int64_t now = impl_->clock.Now().unix_ms;
  WRIT_TRY(impl_->store->Read([&](store::Database& db) -> Status {
    auto gauge = [&](Family family, const char* label, const char* state, auto number) -> Status {
      WRIT_ASSIGN(auto value, std::move(number));
      out.Set(family, {{label, state}}, static_cast<double>(value.value_or(0)));
      return {};
    };
    for (const auto& [state, sql] : kOpenRuns) {
      const bool timed = std::string_view(sql).find("?1") != std::string_view::npos;
      WRIT_TRY(gauge(Family::kRuns, "state", state, timed ? db.Number(sql, now) : db.Number(sql)));
    }
    constexpr const char* kHeld =
        "SELECT COUNT(*) FROM runs WHERE status IN ('claimed','provisioning','running') AND "
        "lease_until >= ?";
    constexpr const char* kOverdue =
        "SELECT COUNT(*) FROM runs WHERE status IN ('claimed','provisioning','running') AND "
        "lease_until < ?";
    WRIT_TRY(gauge(Family::kLeases, "state", "held", db.Number(kHeld, now)));
    WRIT_TRY(gauge(Family::kLeases, "state", "overdue", db.Number(kOverdue, now)));
    WRIT_TRY(gauge(Family::kRunners, "state", "enrolled",
                   db.Number("SELECT COUNT(*) FROM runners WHERE revoked_at IS NULL")));
    return gauge(Family::kRunners, "state", "revoked",
                 db.Number("SELECT COUNT(*) FROM runners WHERE revoked_at IS NOT NULL"));
  }));
  return out.Text();
}

std::optional<std::string> Plane::TraceOf(const std::string& run_id) const {
  auto text = impl_->store->Read([&](store::Database& db) {
    return db.Value("SELECT contract FROM runs WHERE run_id = ?", run_id);
  });
  if (!text || !*text) return std::nullopt;
  auto value = json::Parse(**text);
  const json::Value* trace = value ? value->Find("trace") : nullptr;
  const auto parent = trace != nullptr ? trace->FindString("traceparent") : std::nullopt;
  if (!parent || !protocol::IsTraceparent(*parent)) return "";
  return protocol::TraceContext{std::string(*parent)}.trace_id();
}

void Plane::Impl::NoteClaimed(const protocol::Contract& contract, const char* kind) {
  metrics->Add(Family::kClaims, {{"kind", kind}});
  metrics->Observe(Family::kQueueSeconds, {},
                   std::chrono::milliseconds(std::max<std::int64_t>(
                       0, clock.Now().unix_ms - contract.issued_at.unix_ms)));
}

}  // namespace writ::plane
