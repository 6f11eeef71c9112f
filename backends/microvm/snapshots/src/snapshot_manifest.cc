#include "writ/backends/microvm/snapshots/snapshot_manifest.h"

#include <sys/utsname.h>

#include <utility>

#include "writ/backends/microvm/pages/layered_memory.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm {
namespace {

constexpr char kFormat[] = "writ-snapshot/1";
constexpr std::int64_t kMaxMemory = std::int64_t{pages::kMaxMemoryBytes};
constexpr std::int64_t kMaxPart = 1ll << 36;
constexpr std::int64_t kMaxCpus = 1024;
constexpr std::size_t kMaxParts = 8;
constexpr char kBuildAnew[] =
    "`writ snapshot build` makes one for what there is now, `writ snapshot gc` removes this one";

constexpr json::EnumName<Acceleration> kAccelerationTable[] = {{Acceleration::kTcg, "tcg"},
                                                               {Acceleration::kKvm, "kvm"}};
constexpr json::EnumName<VmmKind> kVmmTable[] = {{VmmKind::kQemu, "qemu"},
                                                 {VmmKind::kFirecracker, "firecracker"},
                                                 {VmmKind::kCloudHypervisor, "cloud-hypervisor"}};

// A part is a file of the snapshot's own folder.
bool IsPartName(std::string_view text) {
  for (char c : text)
    if (!((c >= 'a' && c <= 'z') || c == '.' || c == '-')) return false;
  return !text.empty() && text.front() != '.';
}
constexpr json::TextRule kPartRule{1, 64, IsPartName, "a file name ([a-z.-]{1,64})"};
constexpr json::TextRule kShort{1, 512, nullptr, ""};
constexpr json::TextRule kCommand{1, 64 * 1024, nullptr, ""};

Error Differs(const char* code, std::string message) {
  return {ErrorKind::kUnsupported, code, std::move(message), kBuildAnew};
}

json::Value PartJson(const SnapshotPart& part) {
  return json::Object{{"bytes", part.bytes}, {"digest", part.digest}, {"name", part.name}};
}

}  // namespace

json::Value SnapshotManifest::ToJson() const {
  json::Array parts;
  for (const SnapshotPart& part : state) parts.push_back(PartJson(part));
  return json::Object{{"architecture", fit.architecture},
                      {"cpu", fit.vmm.cpu},
                      {"createdAt", FormatRfc3339(created_at)},
                      {"format", kFormat},
                      {"image", fit.image},
                      {"initramfs", initramfs},
                      {"kernel", kernel},
                      {"machine", json::Object{{"acceleration", AccelerationName(fit.acceleration)},
                                               {"cpus", fit.cpus},
                                               {"layout", fit.layout}}},
                      {"memory", json::Object{{"bytes", fit.memory_bytes},
                                              {"leafBytes", pages::kLeafBytes},
                                              {"root", memory_root}}},
                      {"root", root},
                      {"state", std::move(parts)},
                      {"tokens", tokens},
                      {"vmm", json::Object{{"binary", fit.vmm.binary},
                                           {"name", VmmName(fit.vmm.kind)},
                                           {"rule", kExactVmm},
                                           {"version", fit.vmm.version.text()}}},
                      {"warmUp", json::Value::Texts(warm_up)}};
}

protocol::Digest SnapshotManifest::Id() const {
  return protocol::HashValue(ToJson());
}

Result<SnapshotManifest> ReadSnapshotManifest(const json::Value& value) {
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  SnapshotManifest out;
  reader.Literal("format", kFormat);
  out.created_at = reader.Time("createdAt");
  out.fit.architecture = reader.String("architecture", kShort);
  out.fit.vmm.cpu = reader.String("cpu", kShort);
  out.fit.image = reader.As<protocol::Digest>("image");
  out.kernel = reader.As<protocol::Digest>("kernel");
  out.initramfs = reader.As<protocol::Digest>("initramfs");
  out.root = reader.As<protocol::Digest>("root");
  out.tokens = reader.As<protocol::Digest>("tokens");
  out.warm_up = reader.Strings("warmUp", kCommand);

  json::ObjectReader machine = reader.Child("machine");
  out.fit.acceleration = machine.Enum("acceleration", kAccelerationTable);
  out.fit.cpus = static_cast<unsigned>(machine.Integer("cpus", 1, kMaxCpus));
  out.fit.layout = machine.As<protocol::Digest>("layout");
  machine.RefuseUnknown();

  json::ObjectReader memory = reader.Child("memory");
  out.fit.memory_bytes = static_cast<std::uint64_t>(memory.Integer("bytes", 1, kMaxMemory));
  const auto leaf = static_cast<std::int64_t>(pages::kLeafBytes);
  (void)memory.Integer("leafBytes", leaf, leaf);
  out.memory_root = memory.As<protocol::Digest>("root");
  memory.RefuseUnknown();
  if (out.fit.memory_bytes % pages::kPageBytes != 0)
    issues.Add("object.range", "/memory/bytes", "must be whole pages");

  json::ObjectReader vmm = reader.Child("vmm");
  out.fit.vmm.kind = vmm.Enum("name", kVmmTable);
  out.fit.vmm.binary = vmm.As<protocol::Digest>("binary");
  vmm.Literal("rule", kExactVmm);
  const std::string said = vmm.String("version", kShort);
  auto version = ParseVmmVersion(said);
  if (version) out.fit.vmm.version = *version;
  if (!version || version->text() != said)
    issues.Add("object.pattern", "/vmm/version", "must be a version of three numbers");
  vmm.RefuseUnknown();

  reader.ForEachObject(
      "state",
      [&out](json::ObjectReader& item) {
        SnapshotPart part;
        part.name = item.String("name", kPartRule);
        part.bytes = static_cast<std::uint64_t>(item.Integer("bytes", 0, kMaxPart));
        part.digest = item.As<protocol::Digest>("digest");
        item.RefuseUnknown();
        out.state.push_back(std::move(part));
      },
      kMaxParts);
  if (out.state.empty()) issues.Add("object.range", "/state", "must name a file");
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("the snapshot's manifest"));
  return out;
}

Status CheckFits(const SnapshotManifest& manifest, const SnapshotFit& wanted) {
  const SnapshotFit& made = manifest.fit;
  if (made.architecture != wanted.architecture)
    return Differs("snapshot.architecture", "the snapshot is of a " + made.architecture +
                                                " host, and this one is " + wanted.architecture);
  if (made.vmm.cpu != wanted.vmm.cpu)
    return Differs("snapshot.cpu",
                   "the snapshot is of another processor, or of one with other features");
  if (made.vmm.kind != wanted.vmm.kind || made.vmm.version != wanted.vmm.version)
    return Differs("snapshot.vmm", "the snapshot is of " + std::string(VmmName(made.vmm.kind)) +
                                       " " + made.vmm.version.text() + ", and its rule (" +
                                       std::string(kExactVmm) + ") refuses " +
                                       std::string(VmmName(wanted.vmm.kind)) + " " +
                                       wanted.vmm.version.text());
  if (made.vmm.binary != wanted.vmm.binary)
    return Differs("snapshot.vmm", "the snapshot is of another build of " +
                                       std::string(VmmName(made.vmm.kind)) + " " +
                                       made.vmm.version.text() + ", and its rule (" +
                                       std::string(kExactVmm) + ") refuses this one");
  if (made.image != wanted.image)
    return Differs("snapshot.image", "the snapshot is of another guest image");
  if (made.memory_bytes != wanted.memory_bytes || made.cpus != wanted.cpus)
    return Differs("snapshot.machine", "the snapshot is of a machine of another size");
  if (made.acceleration != wanted.acceleration)
    return Differs("snapshot.machine", "the snapshot is of a machine under " +
                                           std::string(AccelerationName(made.acceleration)) +
                                           ", not " +
                                           std::string(AccelerationName(wanted.acceleration)));
  if (made.layout != wanted.layout)
    return Differs("snapshot.machine", "the snapshot is of a machine with other devices");
  return {};
}

std::string HostArchitecture() {
  utsname name{};
  ::uname(&name);
  return name.machine;
}

}  // namespace writ::backends::microvm
