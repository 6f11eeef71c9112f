// RunnerCapabilities: what a runner has found that it can do, as it says it to its plane with each
// claim. Our extension (protocol.md section 6).
//
// It narrows what the plane offers to the runner and grants nothing: a runner that says too much
// refuses what it cannot do by itself (L4), one that says too little gets less. Bounded on both
// sides: a runner cuts its sentences, a plane refuses what is larger, unknown words included (L3).
// Members that a later version adds are ignored.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/protocol/names.h"
#include "writ/protocol/words.h"

namespace writ::protocol {

// What holds a limit of a job in a tier: "memory", "cgroup-v1". Words of the backends, not of ours.
struct LimitReport {
  std::string limit;
  std::string holder;
  bool contract = true;  // a contract that asks for it is not refused for it
};

struct TierReport {
  Tier tier = Tier::kProcess;
  bool offered = false;  // a contract for it is not refused by this runner as it is now
  std::string reason;    // one sentence where it is not offered
  std::string mend;      // what its operator can do about it; may be empty
  std::string backend;   // that would run it; empty: there is none
  std::string version;   // of the backend and what it stands on
  bool overlay = false;  // workspaces are overlays on a shared checkout
  std::map<std::string, std::string> enforcement;  // "network": "kernel", "advisory", "none"
  std::vector<LimitReport> limits;
};

struct AgentReport {
  AgentKind kind;
  std::optional<std::string> version;  // as installed; nullopt: it does not tell
};

// Sizes; 0: not known, or no bound.
struct MachineReport {
  std::uint64_t cpu_millis = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;  // of the file system that holds the runs
};
struct MostReport {  // that one run may have here
  std::uint64_t cpu_millis = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t cpu_ms = 0;
  std::uint64_t processes = 0;
  std::uint64_t open_files = 0;
  std::uint64_t timeout_ms = 0;
  std::uint64_t log_bytes = 0;
};

struct RunnerCapabilities {
  Tier default_isolation = Tier::kProcess;  // of a contract that names none
  Tier minimum_isolation = Tier::kProcess;  // a contract that asks for less runs in this one
  std::map<std::string, Tier> words;        // of other planes
  std::vector<TierReport> tiers;            // one for each tier with a backend
  std::vector<AgentReport> agents;          // installed and usable, one for each kind
  MachineReport machine;
  MostReport most;

  json::Value ToJson() const;
  // Codes: object.*, name.*, "capabilities.twice".
  static RunnerCapabilities Read(json::ObjectReader reader);
  static Result<RunnerCapabilities> Parse(const json::Value& value);

  const TierReport* Find(Tier tier) const;  // nullptr: no backend
  // Where a contract with this isolation word runs, if at all; nullopt: the word is not known.
  std::optional<Tier> TierFor(const std::optional<std::string>& isolation) const;
};

inline constexpr std::size_t kMaxCapabilityText = 300;  // bytes of a reason or mend

// A tier that is raised to the operator's minimum where it is below; never lowered.
Tier RaisedTo(Tier minimum, Tier asked);

}  // namespace writ::protocol
