// MachineLayers: what `writ doctor` looks at beside what runner and backends know of themselves.
// Each look changes nothing and ends at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/runner/config.h"

namespace writ::cli {

enum class Health {
  kGood,     // there and usable
  kLimited,  // works, with something left open
  kAbsent,   // not there, and nothing that was asked for needs it
  kBad,      // needed, and missing
};
std::string_view HealthName(Health health);  // "ok", "limited", "absent", "missing"

// One layer of the machine: how it is, why, and what mends it.
struct Layer {
  std::string name;  // "landlock", "disk", "agent claude-code"
  Health health = Health::kGood;
  std::string found;  // what is there: "kernel 6.18.0, x86_64"
  std::string cause;  // why it is not better; empty where nothing is to say
  std::string mend;   // what an operator can do about it; may be empty
};

Layer LookAtKernel();
Layer LookAtUserNamespaces();
// Whether the uids of a root runner's jobs exist here: in a container they may not.
Layer LookAtUids(const runner::RunnerConfig& config);
// The words of /proc/self/uid_map: is every uid of the range mapped?
bool UidsAreMapped(std::string_view uid_map, const runner::UidRange& range);
Layer LookAtCgroups();
Layer LookAtDisk(const std::string& work_dir);
Layer LookAtMemory();
// The proxies of our environment, which no job gets, and the runner's own way to its plane.
Layer LookAtProxies(const runner::RunnerConfig& config);
Layer LookAtKvm();
// What microvm.pool of the configuration keeps. Nothing: it asks for none.
std::optional<Layer> LookAtPool(const runner::RunnerConfig& config);
Layer LookAtSnapshots(const std::string& dir);  // whether runs would start from them
// Whether machines that start from snapshots get their memory as they touch it.
Layer LookAtPageServer(const std::string& dir);
std::vector<Layer> LookAtRuntimes();  // container runtimes and machine monitors, by their programs

}  // namespace writ::cli
