// VmmVersion: which monitor there is, whether it may be used, and what a snapshot of it depends on.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::microvm {

enum class VmmKind { kQemu, kFirecracker, kCloudHypervisor };
std::string_view VmmName(VmmKind kind);  // "qemu", "firecracker", "cloud-hypervisor"
Result<VmmKind> ParseVmmName(std::string_view name);

struct VmmVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;
  std::string text() const;  // "7.2.22"
  auto operator<=>(const VmmVersion&) const = default;
};

// Of the first line of `--version`: "QEMU emulator version 7.2.22 (Debian ...)", "Firecracker
// v1.16.1", "cloud-hypervisor v53.0.0". kUnsupported "microvm.vmm_version" with the reason for one
// that is too old, has a vulnerability that reaches us, or is newer than its API is known. Pure.
Result<VmmVersion> JudgeVmmVersion(VmmKind kind, std::string_view first_line);
// A version as an API tells it: "1.16.1", "v53.0". kInvalid for what is none.
Result<VmmVersion> ParseVmmVersion(std::string_view text);

// What a snapshot's device state was made by. A restore under anything else is refused by whoever
// wrote the manifest.
struct VmmIdentity {
  VmmKind kind = VmmKind::kQemu;
  VmmVersion version;
  protocol::Digest binary;  // of the program
  std::string cpu;          // vendor, family, model, stepping, and a digest of its feature flags
  bool operator==(const VmmIdentity&) const = default;
};
// Reads the program and /proc/cpuinfo. kInvalid where cpuinfo has no processor.
Result<VmmIdentity> ReadVmmIdentity(VmmKind kind, const VmmVersion& version,
                                    const std::string& program);
// The same of a text like /proc/cpuinfo. Pure.
Result<std::string> CpuIdentity(std::string_view cpuinfo);

}  // namespace writ::backends::microvm
