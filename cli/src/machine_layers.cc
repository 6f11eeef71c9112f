#include "machine_layers.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "duration.h"
#include "machine_setup.h"
#include "settings.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/linux/machine.h"
#include "writ/backends/linux/user_namespace.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/snapshot_build.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::cli {
namespace {

constexpr char kNoBackend[] = "no backend of this build uses it";

std::string FindProgram(std::string_view name) {
  const char* path = std::getenv("PATH");
  const std::string_view folders = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t at = 0; at <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', at), folders.size());
    const std::string file = std::string(folders.substr(at, end - at)) + "/" + std::string(name);
    if (end > at && ::access(file.c_str(), X_OK) == 0) return file;
    at = end + 1;
  }
  return "";
}

bool Listens(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return fd &&
         ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

std::string_view HealthName(Health health) {
  switch (health) {
    case Health::kGood:
      return "ok";
    case Health::kLimited:
      return "limited";
    case Health::kAbsent:
      return "absent";
    case Health::kBad:
      return "missing";
  }
  return "";
}

Layer LookAtKernel() {
  utsname name{};
  (void)::uname(&name);
  return {"kernel", Health::kGood,
          std::string("Linux ") + name.release + ", " + name.machine +
              (::geteuid() == 0 ? ", as root" : ", as uid " + std::to_string(::geteuid())),
          "", ""};
}

Layer LookAtUserNamespaces() {
  Layer out{"user namespaces", Health::kGood, "one was made and ended", "", ""};
  Status made = backends::ProbeUserNamespace();
  if (made) return out;
  out.health = Health::kLimited;
  out.found = "refused: " + std::string(std::strerror(made.error().sys_errno));
  out.cause = made.error().sys_errno == ENOSPC
                  ? "user.max_user_namespaces allows no more of them"
                  : "switched off by a sysctl, a security module or the container around us; the "
                    "sandbox and container tiers need them";
  out.mend =
      "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
      "kernel.apparmor_restrict_unprivileged_userns";
  return out;
}

bool UidsAreMapped(std::string_view uid_map, const runner::UidRange& range) {
  std::uint64_t next = range.first;
  const std::uint64_t end = next + range.count;
  // Lines "inside outside count" in the order of the kernel, which need not be ascending.
  for (bool moved = true; moved && next < end;) {
    moved = false;
    for (std::size_t at = 0; at < uid_map.size();) {
      const std::size_t line_end = std::min(uid_map.find('\n', at), uid_map.size());
      std::string_view line = uid_map.substr(at, line_end - at);
      at = line_end + 1;
      std::uint64_t numbers[3] = {};
      int count = 0;
      while (count < 3) {
        const std::size_t digit = line.find_first_of("0123456789");
        if (digit == std::string_view::npos) break;
        line.remove_prefix(digit);
        auto [rest, status] =
            std::from_chars(line.data(), line.data() + line.size(), numbers[count]);
        if (status != std::errc()) break;
        line.remove_prefix(static_cast<std::size_t>(rest - line.data()));
        ++count;
      }
      if (count == 3 && next >= numbers[0] && next < numbers[0] + numbers[2]) {
        next = std::min(end, numbers[0] + numbers[2]);
        moved = true;
      }
    }
  }
  return next >= end;
}

Layer LookAtUids(const runner::RunnerConfig& config) {
  if (!config.uid_range)
    return {"job uids", Health::kLimited, "jobs run as uid " + std::to_string(::geteuid()),
            "without root a job cannot have a uid of its own", "start the runner as root"};
  const runner::UidRange& range = *config.uid_range;
  Layer out{"job uids", Health::kGood,
            std::to_string(range.first) + "-" +
                std::to_string(std::uint64_t{range.first} + range.count - 1),
            "", ""};
  auto map = ReadFile("/proc/self/uid_map", 1 << 16);
  if (map && !UidsAreMapped(*map, range)) {
    out.health = Health::kBad;
    out.cause = "this user namespace (a container's?) has no such uids";
    out.mend = "name a uidRange in runner.json that /proc/self/uid_map has";
  }
  return out;
}

Layer LookAtCgroups() {
  const backends::CgroupSupport support = backends::ProbeCgroups();
  Layer out{"cgroups", Health::kGood, "", "", ""};
  auto add = [&](const char* what, const std::string& base, bool is_v2) {
    if (base.empty()) return;
    out.found += (out.found.empty() ? "" : ", ") + std::string(what) + " by " +
                 (is_v2 ? "v2" : "v1") + " below " + base;
  };
  add("memory", support.memory_base, support.memory_is_v2);
  add("tasks", support.pids_base, support.pids_is_v2);
  add("kill", support.kill_base, true);
  add("cpu", support.cpu_base, support.cpu_is_v2);
  add("io", support.io_base, support.io_is_v2);
  add("freezer", support.freezer_base, false);
  if (support.memory_base.empty() || support.pids_base.empty()) {
    out.health = Health::kLimited;
    if (out.found.empty()) out.found = "no group can be made by this process";
    out.cause = support.reason;
    out.mend = support.mend;
  }
  return out;
}

Layer LookAtDisk(const std::string& work_dir) {
  std::string at = work_dir;
  std::error_code failed;
  while (at.size() > 1 && !std::filesystem::exists(at, failed)) at.resize(at.rfind('/'));
  if (at.empty()) at = "/";
  const auto space = std::filesystem::space(at, failed);
  if (failed) return {"disk", Health::kBad, at, failed.message(), "set workDir elsewhere"};
  return {"disk", Health::kGood, FormatBytes(space.available) + " free at " + at, "", ""};
}

Layer LookAtMemory() {
  const backends::MachineCapacity machine = backends::ProbeMachine();
  return {"memory", Health::kGood,
          FormatBytes(machine.available_memory_bytes) + " available of " +
              FormatBytes(machine.memory_bytes) + ", " + std::to_string(machine.cpu_millis / 1000) +
              "." + std::to_string(machine.cpu_millis % 1000 / 100) + " CPUs",
          "", ""};
}

Layer LookAtProxies(const runner::RunnerConfig& config) {
  Layer out{"proxies", Health::kGood, "", "", ""};
  if (!config.plane.proxy.empty())
    out.found =
        "to the plane: " +
        *WithoutPasswords(json::Value(json::ToWellFormedUtf8(config.plane.proxy))).if_string();
  std::string set;
  for (const char* name : {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY",
                           "all_proxy", "NO_PROXY", "no_proxy"})
    if (std::getenv(name) != nullptr) set += (set.empty() ? "" : ", ") + std::string(name);
  if (!set.empty()) {
    out.health = Health::kLimited;
    out.found += (out.found.empty() ? "" : "; ") + set + " set in this environment";
    out.cause = "no job gets them: jobs reach the network through their session's own proxy";
    out.mend = "for the way to the plane use --plane-proxy or plane.proxy";
  }
  if (out.found.empty()) out.found = "none set";
  return out;
}

Layer LookAtKvm() {
  Layer out{"kvm", Health::kAbsent, "", "", ""};
  UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) {
    out.found = std::string("/dev/kvm: ") + std::strerror(errno);
    out.cause =
        "no hardware virtualization here, or not for this user; the microvm tier emulates its "
        "machines without it";
    out.mend =
        "load kvm_intel or kvm_amd (in a virtual machine: ask its host for nested "
        "virtualization), and join the group kvm";
    return out;
  }
  const int version = ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
  UniqueFd machine(version == KVM_API_VERSION ? ::ioctl(kvm.get(), KVM_CREATE_VM, 0) : -1);
  if (!machine) {
    out.found = "/dev/kvm opens, and no machine can be made";
    out.cause = std::strerror(errno);
    return out;
  }
  out.health = Health::kGood;
  out.found = "a machine was made (API " + std::to_string(version) + "); for the microvm tier";
  return out;
}

std::optional<Layer> LookAtPool(const runner::RunnerConfig& config) {
  const runner::RunnerConfig::MachinePool& pool = config.microvm.pool;
  if (pool.clones == 0) return std::nullopt;
  Layer out{"machine pool", Health::kGood,
            std::to_string(pool.clones) + " of each snapshot are restored ahead of their runs, " +
                std::to_string(pool.memory_bytes >> 20) + " MiB together at most, for " +
                std::to_string(pool.max_age.count()) + " s; `writ runner status` counts them",
            "", ""};
  const std::uint64_t one =
      backends::MicrovmBackendOptions().job_memory_bytes + backends::kGuestMemoryBytes;
  if (pool.memory_bytes < one) {
    out.health = Health::kLimited;
    out.cause = "the machine of a run without a memory limit has " + std::to_string(one >> 20) +
                " MiB, more than the pool: none of those waits";
    out.mend = "raise microvm.pool.memoryBytes";
  }
  return out;
}

Layer LookAtSnapshots(const std::string& dir) {
  Layer out{"snapshots", Health::kAbsent, "there are none: machines of the microvm tier boot", "",
            "`writ snapshot build` makes one"};
  auto list = backends::microvm::SnapshotStoreOf(dir).List();
  if (!list) {
    out.health = Health::kLimited;
    out.found = "they cannot be read";
    out.cause = list.error().message;
    out.mend = list.error().hint;
    return out;
  }
  const std::size_t all = list->good.size() + list->refused.size();
  if (all == 0) return out;
  auto options = ReadMachineOptions(dir);
  if (!options) return out;
  const backends::SnapshotJudge judge(*options);
  std::size_t usable = 0;
  Status worst;
  if (!list->refused.empty()) worst = list->refused.front().why;
  for (const auto& record : list->good) {
    Status fits = judge.Judge(record);
    usable += fits ? 1 : 0;
    if (!fits && worst) worst = std::move(fits);
  }
  out.found = std::to_string(usable) + " of " + std::to_string(all) +
              " can be used; machines of the microvm tier start from them";
  out.health = worst ? Health::kGood : Health::kLimited;
  out.cause = worst ? std::string() : worst.error().message;
  out.mend = worst ? std::string()
                   : "`writ snapshot build` makes one that fits, `writ snapshot gc` "
                     "removes the others";
  return out;
}

Layer LookAtPageServer(const std::string& dir) {
  Layer out{"page server", Health::kGood,
            "machines get a snapshot's memory as they touch it, compared at first touch", "", ""};
  auto options = ReadMachineOptions(dir);
  const Status served =
      options ? backends::MachinePagesCanBeServed(options->pages) : Status(options.error());
  if (served) return out;
  out.health = Health::kLimited;
  out.found = "machines that start from a snapshot have all of its memory copied first";
  out.cause = served.error().message;
  out.mend = served.error().hint;
  return out;
}

std::vector<Layer> LookAtRuntimes() {
  struct Known {
    const char* layer;
    const char* program;
    const char* socket;
    const char* use = kNoBackend;
    const char* mend = "";  // where a tier uses it
  };
  static constexpr char kContainer[] =
      "the container tier uses it (crun, runc or runsc: one is enough)";
  static constexpr char kMonitor[] = "the microvm tier uses it where microvm.vmm names it";
  static constexpr Known kKnown[] = {
      {"docker", "docker", "/var/run/docker.sock"},
      {"podman", "podman", nullptr},
      {"containerd", "containerd", "/run/containerd/containerd.sock"},
      {"crun", "crun", nullptr, kContainer, "apt-get install crun"},
      {"runc", "runc", nullptr, kContainer, "apt-get install runc"},
      {"gvisor", "runsc", nullptr, kContainer, "apt-get install runsc"},
      {"qemu", "qemu-system-x86_64", nullptr, "the microvm tier uses it",
       "apt-get install qemu-system-x86"},
      {"firecracker", "firecracker", nullptr, kMonitor, "install its release, see docs/microvm.md"},
      {"cloud-hypervisor", "cloud-hypervisor", nullptr, kMonitor,
       "install its release, see docs/microvm.md"}};
  std::vector<Layer> out;
  for (const Known& known : kKnown) {
    Layer layer{known.layer, Health::kAbsent, "", "", ""};
    const std::string program = FindProgram(known.program);
    if (program.empty()) {
      layer.found = std::string(known.program) + " is not on the PATH; " + known.use;
      layer.mend = known.mend;
    } else if (known.socket != nullptr && !Listens(known.socket)) {
      layer.found = program + ", and nobody answers at " + known.socket + "; " + known.use;
    } else {
      layer.health = Health::kGood;
      layer.found = program + "; " + known.use;
    }
    out.push_back(std::move(layer));
  }
  return out;
}

}  // namespace writ::cli
