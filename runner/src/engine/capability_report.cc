#include "engine/capability_report.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "writ/backends/linux/machine.h"
#include "writ/base/log.h"
#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

constexpr std::chrono::minutes kProbeAgain{10};
// A backend that has lost something is not probed more often than this.
constexpr std::chrono::seconds kProbePause{10};
constexpr std::chrono::seconds kAgentsAge{30};

std::optional<protocol::Tier> TierOf(backends::Tier tier) {
  return protocol::ParseTier(backends::TierName(tier));
}

// The smaller of two bounds of which 0 is none.
std::uint64_t Least(std::uint64_t a, std::uint64_t b) {
  return a == 0 ? b : b == 0 ? a : std::min(a, b);
}

// A tier as runs find it: its first usable backend, or why there is none.
protocol::TierReport ReportTier(const RunnerConfig& config, protocol::Tier tier,
                                const backends::Capabilities& can) {
  protocol::TierReport out;
  out.tier = tier;
  out.backend = can.backend;
  out.version = can.version;
  out.offered = can.usable;
  if (!can.usable) {
    out.reason = can.unusable_reason;
    out.mend = can.unusable_mend;
    return out;
  }
  const auto network_wanted = config.grants.advisory_network ? backends::Enforcement::kAdvisory
                                                             : backends::Enforcement::kKernel;
  if (can.network.enforcement < network_wanted) {
    out.offered = false;
    out.reason = "the kernel does not hold the network here: " + can.network.reason;
    out.mend = can.network.mend;
  }
  out.overlay = can.overlay_workspace != backends::OverlayWorkspace::kNone;
  for (const backends::Aspect aspect : backends::kAllAspects)
    out.enforcement.emplace(backends::AspectName(aspect),
                            backends::EnforcementName(can.Of(aspect).enforcement));
  for (const backends::LimitCapability& limit : can.limits)
    out.limits.push_back({std::string(backends::LimitName(limit.kind)),
                          std::string(backends::LimitHolderName(limit.holder)), limit.whole_job});
  return out;
}

}  // namespace

protocol::RunnerCapabilities MakeReport(const RunnerConfig& config, const ReportFacts& facts) {
  protocol::RunnerCapabilities out;
  out.default_isolation =
      protocol::ParseTier(config.default_isolation).value_or(out.default_isolation);
  out.minimum_isolation =
      protocol::ParseTier(config.minimum_isolation).value_or(out.minimum_isolation);
  for (const auto& [word, tier] : config.isolation_words)
    if (auto known = protocol::ParseTier(tier)) out.words.emplace(word, *known);
  for (const backends::Capabilities* can : facts.backends) {
    const auto tier = TierOf(can->tier);
    if (!tier) continue;
    protocol::TierReport report = ReportTier(config, *tier, *can);
    auto known = std::find_if(out.tiers.begin(), out.tiers.end(),
                              [&](const auto& each) { return each.tier == *tier; });
    if (known == out.tiers.end())
      out.tiers.push_back(std::move(report));
    else if (known->version.empty() || (!known->offered && report.offered))
      *known = std::move(report);
  }
  out.agents = facts.agents;
  out.machine = facts.machine;
  const OperatorLimits& limits = config.limits;
  out.most.cpu_millis = Least(limits.cpu_millis, facts.share.most_cpu_millis);
  out.most.memory_bytes = Least(limits.memory_bytes, facts.share.most_memory_bytes);
  out.most.disk_bytes = Least(limits.disk_bytes, facts.share.most_disk_bytes);
  out.most.cpu_ms = static_cast<std::uint64_t>(limits.cpu_time.count());
  out.most.processes = limits.processes;
  out.most.open_files = limits.open_files;
  out.most.timeout_ms = static_cast<std::uint64_t>(limits.max_timeout.count());
  out.most.log_bytes = limits.max_log_bytes;
  return out;
}

std::vector<protocol::AgentReport> LookForAgents(const RunnerConfig& config) {
  std::vector<protocol::AgentReport> out;
  for (const AgentProfile& profile : AllProfiles()) {
    if (!profile.spawnable) continue;
    auto kind = protocol::AgentKind::Parse(profile.kind);
    if (!kind) continue;
    const InstalledAgent agent = LocateFor(config, profile);
    if (agent.lack.empty()) out.push_back({*kind, agent.version});
  }
  return out;
}

bool CapabilityReport::IsDue() const {
  if (probed_at_.count() < 0) return false;  // Probe is about to look for the first time
  const auto age = clock_.Monotonic() - probed_at_;
  if (invalid_ || age >= kProbeAgain) return true;
  if (age < kProbePause) return false;
  const auto all = registry_.All();
  return std::any_of(all.begin(), all.end(), [](backends::Backend* backend) {
    return backend->Probe().usable && !backend->Alive();
  });
}

void CapabilityReport::Refresh() {
  std::lock_guard lock(mutex_);
  const bool due = IsDue();
  if (probed_at_.count() < 0 || due) probed_at_ = clock_.Monotonic();
  if (!due) return;
  invalid_ = false;
  for (backends::Backend* backend : registry_.All()) {
    const backends::Capabilities& before = backend->Probe();
    const backends::Capabilities& after = backend->ProbeAgain();
    if (before == after) continue;
    log::Warn("runner.capabilities", "what a backend can do here has changed",
              {{"backend", after.backend},
               {"usable", after.usable ? "yes" : "no"},
               {"reason", after.unusable_reason}});
  }
}

void CapabilityReport::Invalidate() {
  std::lock_guard lock(mutex_);
  invalid_ = true;
  agents_at_ = std::chrono::nanoseconds(-1);
}

protocol::RunnerCapabilities CapabilityReport::Of(const RunnerConfig& config, int work_dir,
                                                  const MachineShare& share) {
  ReportFacts facts;
  for (backends::Backend* backend : registry_.All()) facts.backends.push_back(&backend->Probe());
  {
    std::lock_guard lock(mutex_);
    const auto now = clock_.Monotonic();
    if (agents_at_.count() < 0 || now - agents_at_ >= kAgentsAge) {
      agents_ = LookForAgents(config);
      agents_at_ = now;
    }
    facts.agents = agents_;
  }
  const backends::MachineCapacity machine = backends::ProbeMachine();
  facts.machine.cpu_millis = machine.cpu_millis;
  facts.machine.memory_bytes = machine.memory_bytes;
  struct statvfs disk {};
  if (fstatvfs(work_dir, &disk) == 0)
    facts.machine.disk_bytes = std::uint64_t{disk.f_blocks} * disk.f_frsize;
  facts.share = share;
  facts.share.most_disk_bytes = Least(share.most_disk_bytes, facts.machine.disk_bytes);
  return MakeReport(config, facts);
}

}  // namespace writ::runner
