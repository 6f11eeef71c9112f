// What Firecracker and Cloud Hypervisor are asked for what a Vmm does: requests of their published
// APIs (Firecracker 1.16 `firecracker.yaml`, Cloud Hypervisor 53 `cloud-hypervisor.yaml`), with
// fields that a version lacks left out. Pure; tests hold every one against the descriptions.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/vmm.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

struct ApiRequest {
  std::string method;
  std::string path;
  json::Value body = {};  // null: none
  int expected = 204;
  std::chrono::milliseconds bound{10'000};
  // Looks at the answer's body. Empty: it is not read.
  std::function<Status(const json::Value&)> check = {};
};

// Paths are relative to MachineSpec::place, where the monitor runs; the agent's socket is recorded
// in a snapshot so, and each clone makes its own.
inline constexpr char kApiSocket[] = "api.sock";
inline constexpr char kAgentSocket[] = "agent.sock";
inline constexpr unsigned kGuestCid = 3;

namespace firecracker {

inline constexpr char kState[] = "state";
inline constexpr char kMemory[] = "memory";

// The monitor on the other end is the one that was judged.
ApiRequest AskVersion(const VmmVersion& version);
std::vector<ApiRequest> Boot(const MachineSpec& spec);
// kUnsupported for a differential snapshot where this version damages them.
Result<std::vector<ApiRequest>> Snapshot(const MachineSpec& spec, const SnapshotOrder& order);
std::vector<ApiRequest> Restore(const MachineSpec& spec, const RestoreOrder& order);
ApiRequest SetState(std::string_view state);  // "Paused", "Resumed"
ApiRequest PutDrive(const std::string& name, const std::string& file);
// False: a machine that is paused and resumed without a snapshot would never again hear its host
// (1.16.0 and 1.16.1, firecracker pull request 6100).
bool SurvivesBarePause(const VmmVersion& version);

}  // namespace firecracker

namespace cloud_hypervisor {

inline constexpr const char* kState[] = {"config.json", "state.json"};
inline constexpr char kMemory[] = "memory-ranges";

ApiRequest AskVersion(const VmmVersion& version);
std::vector<ApiRequest> Boot(const MachineSpec& spec);
Result<std::vector<ApiRequest>> Snapshot(const SnapshotOrder& order);
// kUnsupported for a page server: its own on-demand mode reads the file itself.
Result<std::vector<ApiRequest>> Restore(const RestoreOrder& order);
ApiRequest Pause();
ApiRequest Resume();
ApiRequest PutDrive(const std::string& name, const std::string& file);

}  // namespace cloud_hypervisor

}  // namespace writ::backends::microvm
