#include "writ/backends/microvm/vmm_version.h"

#include <charconv>
#include <map>
#include <sstream>

#include "writ/base/file.h"
#include "writ/protocol/file_digest.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxCpuInfo = 16u << 20;
constexpr VmmVersion kLeastQemu{7, 2, 0};
constexpr VmmVersion kLeastFirecracker{1, 8, 0};  // ACPI
constexpr VmmVersion kNextFirecracker{1, 17, 0};
constexpr VmmVersion kLeastCloudHypervisor{40, 0, 0};
constexpr VmmVersion kNextCloudHypervisor{54, 0, 0};

// Releases with a fault that a guest reaches from inside, as their projects say. QEMU is not judged
// by its number: distributions mend it without changing that.
struct Advisory {
  VmmKind kind;
  VmmVersion from;
  VmmVersion fixed;
  const char* what;
};
constexpr Advisory kAdvisories[] = {
    // Reached through PCI only, which we never switch on but a snapshot may bring.
    {VmmKind::kFirecracker,
     {1, 13, 0},
     {1, 14, 4},
     "CVE-2026-5747 (GHSA-776c-mpj7-jm3r: a guest writes past a virtio queue)"},
    {VmmKind::kFirecracker,
     {1, 15, 0},
     {1, 15, 1},
     "CVE-2026-5747 (GHSA-776c-mpj7-jm3r: a guest writes past a virtio queue)"},
    // The advisory's own first version is not known here: every older one is refused.
    {VmmKind::kCloudHypervisor,
     {0, 0, 0},
     {52, 0, 0},
     "CVE-2026-45782 (GHSA-f47p-p25q-83rh: use after free in virtio-block)"},
};

Error Unsupported(std::string message, std::string hint = {}) {
  return {.kind = ErrorKind::kUnsupported,
          .code = "microvm.vmm_version",
          .message = std::move(message),
          .hint = std::move(hint)};
}

std::string_view Prefix(VmmKind kind) {
  switch (kind) {
    case VmmKind::kQemu:
      return "QEMU emulator version ";
    case VmmKind::kFirecracker:
      return "Firecracker v";
    case VmmKind::kCloudHypervisor:
      return "cloud-hypervisor v";
  }
  return {};
}

std::string Shown(VmmKind kind, const VmmVersion& version) {
  constexpr std::string_view kNames[] = {"QEMU ", "Firecracker ", "Cloud Hypervisor "};
  return std::string(kNames[static_cast<int>(kind)]) + version.text();
}

}  // namespace

std::string_view VmmName(VmmKind kind) {
  constexpr std::string_view kNames[] = {"qemu", "firecracker", "cloud-hypervisor"};
  return kNames[static_cast<int>(kind)];
}

Result<VmmKind> ParseVmmName(std::string_view name) {
  for (VmmKind kind : {VmmKind::kQemu, VmmKind::kFirecracker, VmmKind::kCloudHypervisor})
    if (VmmName(kind) == name) return kind;
  return Error{.kind = ErrorKind::kInvalid,
               .code = "microvm.vmm_name",
               .message = "there is no such monitor",
               .hint = "qemu, firecracker or cloud-hypervisor"};
}

std::string VmmVersion::text() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

Result<VmmVersion> ParseVmmVersion(std::string_view text) {
  const Error wrong{ErrorKind::kInvalid, "microvm.vmm_version", "this is no version"};
  if (text.starts_with('v')) text.remove_prefix(1);
  VmmVersion version;
  const char* at = text.data();
  const char* end = at + text.size();
  int parts = 0;
  for (int* part : {&version.major, &version.minor, &version.patch}) {
    auto [next, error] = std::from_chars(at, end, *part);
    if (error != std::errc() || *part < 0) return wrong;
    ++parts;
    at = next;
    if (at == end || *at != '.') break;
    ++at;
  }
  // What follows is a build's own mark: "-dirty", "-16-gabc", "+deb12".
  if (parts < 2 || (at != end && *at != '-' && *at != '+')) return wrong;
  return version;
}

Result<VmmVersion> JudgeVmmVersion(VmmKind kind, std::string_view first_line) {
  const std::string_view prefix = Prefix(kind);
  if (!first_line.starts_with(prefix))
    return Unsupported("the program does not say that it is " + std::string(VmmName(kind)));
  first_line.remove_prefix(prefix.size());
  auto version = ParseVmmVersion(first_line.substr(0, first_line.find_first_of(" \n(")));
  if (!version) return Unsupported("the program says no version");
  const std::string shown = Shown(kind, *version);
  if (kind == VmmKind::kQemu) {
    if (*version < kLeastQemu)
      return Unsupported(shown + " is older than 7.2, the first that was tried");
    return version;
  }
  const bool firecracker = kind == VmmKind::kFirecracker;
  if (*version < (firecracker ? kLeastFirecracker : kLeastCloudHypervisor))
    return Unsupported(shown + (firecracker ? " is older than 1.8, the first with ACPI"
                                            : " is older than 40, the first that is driven"));
  if (*version >= (firecracker ? kNextFirecracker : kNextCloudHypervisor))
    return Unsupported(shown + " is newer than " + (firecracker ? "1.16" : "53") +
                       ", the newest whose interface is known");
  for (const Advisory& one : kAdvisories)
    if (one.kind == kind && *version >= one.from && *version < one.fixed)
      return Unsupported(shown + " has " + one.what, "take " + one.fixed.text() + " or newer");
  return version;
}

Result<std::string> CpuIdentity(std::string_view cpuinfo) {
  std::map<std::string, std::string> first;
  std::istringstream lines{std::string(cpuinfo.substr(0, cpuinfo.find("\n\n")))};
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto name_end = line.find_last_not_of(" \t", colon - (colon > 0 ? 1 : 0));
    const auto value = line.find_first_not_of(' ', colon + 1);
    first[line.substr(0, name_end + 1)] = value == std::string::npos ? "" : line.substr(value);
  }
  std::string out;
  for (const char* name : {"vendor_id", "cpu family", "model", "stepping", "flags"}) {
    auto it = first.find(name);
    if (it == first.end())
      return Error{ErrorKind::kInvalid, "microvm.cpu",
                   std::string("the processor's ") + name + " is not known"};
    out += (out.empty() ? "" : " ") +
           (it->first == "flags" ? protocol::Sha256(it->second).ToHex() : it->second);
  }
  return out;
}

Result<VmmIdentity> ReadVmmIdentity(VmmKind kind, const VmmVersion& version,
                                    const std::string& program) {
  VmmIdentity out;
  out.kind = kind;
  out.version = version;
  WRIT_ASSIGN(out.binary, protocol::DigestOfFile(program));
  WRIT_ASSIGN(std::string cpuinfo, ReadFile("/proc/cpuinfo", kMaxCpuInfo));
  WRIT_ASSIGN(out.cpu, CpuIdentity(cpuinfo));
  return out;
}

}  // namespace writ::backends::microvm
