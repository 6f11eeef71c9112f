#include "metrics/metrics.h"

namespace writ::runner {
namespace {

using status::MetricFamily;
using status::MetricType;

// In the order of Family.
constexpr MetricFamily kFamilies[] = {
    {"writ_runner_runs_total", "Runs that ended, by status and failure class.",
     MetricType::kCounter},
    {"writ_runner_runs_active", "Runs in work.", MetricType::kGauge},
    {"writ_runner_step_seconds", "Time to each point of a session, from the one before.",
     MetricType::kHistogram},
    {"writ_runner_run_seconds", "From the claim of a run to its delivered receipt.",
     MetricType::kHistogram},
    {"writ_runner_queue_wait_seconds",
     "From the request of a run to its claim, by the plane's clock.", MetricType::kHistogram},
    {"writ_runner_offers_total", "Offered runs, by what became of them.", MetricType::kCounter},
    {"writ_runner_leases_held", "Leases held.", MetricType::kGauge},
    {"writ_runner_lease_events_total", "Changes of leases.", MetricType::kCounter},
    {"writ_runner_slots", "Slots, by state.", MetricType::kGauge},
    {"writ_runner_machine", "What runs may have of the machine, and what is reserved of it.",
     MetricType::kGauge},
    {"writ_runner_machine_pool",
     "Machines restored ahead of their runs: wanted of each snapshot and held now; since the start "
     "runs that got one (hit), that did not (miss), and machines that no run got (discarded).",
     MetricType::kGauge},
    {"writ_runner_journal_runs", "Runs in the journal, by state.", MetricType::kGauge},
    {"writ_runner_uploads_total", "Blobs for the plane, by result.", MetricType::kCounter},
    {"writ_runner_upload_bytes_total", "Bytes of blobs sent to the plane.", MetricType::kCounter},
    {"writ_runner_proxy_decisions_total", "Flows that egress proxies decided on.",
     MetricType::kCounter},
    {"writ_runner_leaks_total", "Things of isolations that were left after a run.",
     MetricType::kCounter},
    {"writ_runner_hooks_total", "Hooks that ran, by result.", MetricType::kCounter},
    {"writ_runner_hook_seconds", "How long hooks took.", MetricType::kHistogram},
    {"writ_runner_ready", "1 where a session could be started now.", MetricType::kGauge},
    {"writ_runner_draining", "1 where no more runs are claimed.", MetricType::kGauge},
};
static_assert(std::size(kFamilies) == static_cast<std::size_t>(Family::kDraining) + 1);

}  // namespace

Metrics::Metrics() : status::Metrics<Family>(kFamilies) {}

}  // namespace writ::runner
