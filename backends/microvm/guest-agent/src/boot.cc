#include "boot.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "writ/backends/microvm/guest_layout.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kFileLimit = 64u << 20;
constexpr std::chrono::milliseconds kLook{5};
constexpr std::chrono::seconds kDeviceBound{60};  // an emulated machine on a busy host is slow
constexpr rlim_t kOpenFiles = 1u << 20;
// What the kernel, the agent and the launcher keep for themselves.
constexpr std::uint64_t kReservedMemory = 96ull << 20;

Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
             const std::string& data = {}) {
  ::mkdir(target.c_str(), 0755);
  if (::mount(source, target.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) != 0)
    return SysError(errno, "agent.mount", "cannot mount " + target);
  return {};
}

Status LoadModules() {
  WRIT_ASSIGN(std::string list, ReadFile(kModuleList, kFileLimit));
  std::istringstream names(list);
  for (std::string name; names >> name;) {
    UniqueFd module(::open((kModuleDir + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!module) return SysError(errno, "agent.module", "cannot open the module " + name);
    if (::syscall(SYS_finit_module, module.get(), "", 0) != 0 && errno != EEXIST)
      return SysError(errno, "agent.module", "the kernel did not take the module " + name);
  }
  return {};
}

std::string FirstLine(const std::string& path) {
  auto text = ReadFile(path, kFileLimit);
  return text ? text->substr(0, text->find('\n')) : std::string();
}

// The entry of a class whose attribute says `wanted`; waits for the driver to have found it.
Result<std::string> AwaitDevice(const std::string& dir, const std::string& attribute,
                                const std::string& wanted) {
  const auto bound = std::chrono::steady_clock::now() + kDeviceBound;
  for (;;) {
    if (DIR* list = ::opendir(dir.c_str())) {
      std::string found;
      while (const dirent* entry = ::readdir(list)) {
        const std::string name = entry->d_name;
        if (name.front() != '.' && FirstLine(dir + "/" + name + "/" + attribute) == wanted)
          found = name;
      }
      ::closedir(list);
      if (!found.empty()) return "/dev/" + found;
    }
    if (std::chrono::steady_clock::now() >= bound)
      return Error{ErrorKind::kUnavailable, "agent.device", "there is no device " + wanted};
    std::this_thread::sleep_for(kLook);
  }
}

Status TakeTokens(AgentOptions& options) {
  WRIT_ASSIGN(std::string text, ReadFile(kTokenFile, kFileLimit));
  ::unlink(kTokenFile);
  std::istringstream(text) >> options.host_token >> options.guest_token;
  ::explicit_bzero(text.data(), text.size());
  if (options.host_token.size() != 2 * kTokenBytes || options.guest_token.size() != 2 * kTokenBytes)
    return Error{ErrorKind::kInvalid, "agent.token", "there are no tokens for this boot"};
  return {};
}

// The root image with a layer in memory above it becomes the root; the initramfs is covered by it.
Status EnterRoot() {
  WRIT_ASSIGN(std::string image, AwaitDevice("/sys/block", "serial", kRootDrive));
  WRIT_TRY(Mount(image.c_str(), "/image", "erofs", MS_RDONLY | MS_NODEV));
  WRIT_TRY(Mount("layer", "/layer", "tmpfs", MS_NODEV, "mode=0755"));
  for (const char* dir : {"/layer/upper", "/layer/work", "/layer/scratch"}) ::mkdir(dir, 0755);
  WRIT_TRY(Mount("root", "/newroot", "overlay", MS_NODEV,
                 "lowerdir=/image,upperdir=/layer/upper,workdir=/layer/work"));
  for (const char* dir : {"/dev", "/proc", "/sys", "/run"}) {
    const std::string target = std::string("/newroot") + dir;
    ::mkdir(target.c_str(), 0755);
    if (::mount(dir, target.c_str(), nullptr, MS_MOVE, nullptr) != 0)
      return SysError(errno, "agent.root", "cannot move " + std::string(dir));
  }
  WRIT_TRY(Mount("scratch", "/newroot" + std::string(kScratchDir), "tmpfs", MS_NODEV,
                 "mode=0755,size=100%"));
  if (::chdir("/newroot") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0)
    return SysError(errno, "agent.root", "cannot enter the root image");
  for (const char* dir : {"/tmp", "/var", "/var/tmp", "/etc", "/home"}) ::mkdir(dir, 0755);
  return {};
}

Status MountInputs(AgentOptions& options) {
  options.inputs = kInputsDir;
  WRIT_ASSIGN(std::string drive, AwaitDevice("/sys/block", "serial", kInputsDrive));
  return Mount(drive.c_str(), options.inputs, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID);
}

Status MakeCgroups() {
  const std::string base = "/sys/fs/cgroup";
  WRIT_TRY(Mount("cgroup2", base, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  UniqueFd control(::open((base + "/cgroup.subtree_control").c_str(), O_WRONLY | O_CLOEXEC));
  if (!control) return SysError(errno, "agent.cgroup", "cannot open the cgroups");
  return WriteAll(control.get(), "+memory +pids +cpu");
}

// Beside the root image, which brings none of ours.
Status BringLauncher(AgentOptions& options) {
  WRIT_ASSIGN(std::string bytes, ReadFile(kLauncherFile, kFileLimit));
  WRIT_ASSIGN(UniqueFd run, MakeDirectories("/run/writ", 0755));
  WRIT_TRY(WriteFileAtomic(run.get(), "writ-launch", bytes, 0755));
  options.launcher = "/run/writ/writ-launch";
  return {};
}

Result<UniqueFd> OpenChannel() {
  WRIT_ASSIGN(std::string port, AwaitDevice("/sys/class/virtio-ports", "name", kAgentPort));
  UniqueFd channel(::open(port.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!channel) return SysError(errno, "agent.channel", "cannot open " + port);
  return channel;
}

}  // namespace

Result<AgentOptions> BootGuest() {
  AgentOptions options;
  options.take_identity = TakeIdentity;
  options.scratch = kScratchDir;
  WRIT_TRY(TakeTokens(options));
  WRIT_TRY(Mount("dev", "/dev", "devtmpfs", MS_NOSUID));
  WRIT_TRY(Mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  WRIT_TRY(Mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  WRIT_TRY(Mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
  WRIT_TRY(LoadModules());
  WRIT_TRY(BringLauncher(options));
  WRIT_TRY(EnterRoot());
  WRIT_TRY(MountInputs(options));
  WRIT_TRY(MakeCgroups());
  const rlimit files{kOpenFiles, kOpenFiles};
  ::setrlimit(RLIMIT_NOFILE, &files);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  const std::uint64_t total = static_cast<std::uint64_t>(memory.totalram) * memory.mem_unit;
  options.job_memory = total > 2 * kReservedMemory ? total - kReservedMemory : total / 2;
  WRIT_ASSIGN(options.transport, OpenChannel());
  return options;
}

}  // namespace writ::backends::microvm
