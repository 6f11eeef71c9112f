// CapabilityReport: what this runner says of itself to a plane with our extension, and when the
// host is looked at again.
//
// Probes are cached by the backends. They are asked again when one that was usable has lost
// something (Backend::Alive), when the operator reloads the configuration, and every ten minutes:
// what an operator mends or takes away is known without a restart. Jobs at work keep what they were
// prepared with. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "writ/backends/registry.h"
#include "writ/base/clock.h"
#include "writ/protocol/runner_capabilities.h"
#include "writ/runner/config.h"
#include "writ/runner/plan.h"

namespace writ::runner {

// What the report is made from; pure.
struct ReportFacts {
  std::vector<const backends::Capabilities*> backends;  // in the order in which they are resolved
  std::vector<protocol::AgentReport> agents;
  protocol::MachineReport machine;
  MachineShare share;  // what one run may ask for at all
};
protocol::RunnerCapabilities MakeReport(const RunnerConfig& config, const ReportFacts& facts);

// The agents that runs can have here, by looking at files.
std::vector<protocol::AgentReport> LookForAgents(const RunnerConfig& config);

class CapabilityReport {
 public:
  CapabilityReport(backends::BackendRegistry& registry, const Clock& clock)
      : registry_(registry), clock_(clock) {}

  // Probes again where it is time, or something is gone. Cheap else.
  void Refresh();
  // At the next Refresh, whatever the time.
  void Invalidate();
  // As of now; what it is made from is looked at again every few seconds at most.
  protocol::RunnerCapabilities Of(const RunnerConfig& config, int work_dir,
                                  const MachineShare& share);

 private:
  bool IsDue() const;  // `mutex_` is held

  backends::BackendRegistry& registry_;
  const Clock& clock_;
  std::mutex mutex_;  // guards all below; held while probing, so that one thread does
  std::chrono::nanoseconds probed_at_{-1};
  bool invalid_ = false;
  std::chrono::nanoseconds agents_at_{-1};
  std::vector<protocol::AgentReport> agents_;
};

}  // namespace writ::runner
