#include "boot.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>
// clang-format off: it needs what sys/socket.h declares
#include <linux/vm_sockets.h>
// clang-format on

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "job_freezer.h"
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

// What comes after `word` on the kernel's command line; nothing where it is not there.
std::optional<std::string> CommandWord(const std::string& word) {
  auto line = ReadFile("/proc/cmdline", kFileLimit);
  std::istringstream words(line ? *line : std::string());
  for (std::string one; words >> one;)
    if (one.starts_with(word)) return one.substr(word.size());
  return std::nullopt;
}

Status LoadModules() {
  WRIT_ASSIGN(std::string list, ReadFile(kModuleList, kFileLimit));
  const bool vsock = CommandWord(kVsockWord).has_value();
  std::istringstream names(list);
  for (std::string name; names >> name;) {
    const bool of_others =
        name.find("vsock") != std::string::npos || name.starts_with("virtio_pci");
    if (of_others && !vsock) continue;
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

Result<std::string> AwaitDrive(const std::string& name) {
  if (auto named = CommandWord(kDriveWord + name + "=")) return "/dev/" + *named;
  return AwaitDevice("/sys/block", "serial", name);
}

// The driver looks at its device anew: the only way to learn of a size that QEMU tells nobody of.
void Rebind(const std::string& drive) {
  const std::string device = "/sys/block/" + drive.substr(drive.rfind('/') + 1) + "/device";
  std::array<char, 256> target{};
  if (::readlink(device.c_str(), target.data(), target.size() - 1) <= 0) return;
  const std::string path = target.data();
  const std::string name = path.substr(path.rfind('/') + 1);
  for (const char* file : {"unbind", "bind"}) {
    UniqueFd control(::open((std::string("/sys/bus/virtio/drivers/virtio_blk/") + file).c_str(),
                            O_WRONLY | O_CLOEXEC));
    if (control) (void)WriteAll(control.get(), name).has_value();
  }
}

// Whether the device is as long as the image on it says that it is.
bool IsWholeImage(const std::string& drive) {
  constexpr off_t kSuperblock = 1024;
  constexpr std::size_t kBlockBits = 12;
  constexpr std::size_t kBlocks = 36;
  // Opened for this alone: with the last descriptor goes what the kernel has kept of the drive.
  UniqueFd device(::open(drive.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<unsigned char, 128> block{};
  if (!device || ::pread(device.get(), block.data(), block.size(), kSuperblock) !=
                     static_cast<ssize_t>(block.size()))
    return false;
  std::uint64_t size = 0;
  std::uint32_t blocks = 0;
  std::memcpy(&blocks, block.data() + kBlocks, sizeof blocks);
  ::ioctl(device.get(), BLKGETSIZE64, &size);
  return size >= std::uint64_t{blocks} << (block[kBlockBits] & 31);
}

// A drive may have got another file while the machine was paused.
Result<std::string> AwaitWhole(const char* name) {
  constexpr int kLooks = 20;
  for (int look = 1; look <= kLooks; ++look) {
    WRIT_ASSIGN(std::string drive, AwaitDrive(name));
    if (IsWholeImage(drive)) return drive;
    Rebind(drive);
    std::this_thread::sleep_for(look * kLook);
  }
  return Error{ErrorKind::kUnavailable, "agent.inputs",
               std::string("the drive of the ") + name + " is not whole"};
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

// In images of a recipe's steps.
Result<std::optional<RootJob>> ReadRootJob() {
  if (::access(kRootJobFile, F_OK) != 0) return std::optional<RootJob>();
  WRIT_ASSIGN(std::string bytes, ReadFile(kRootJobFile, kFileLimit));
  WRIT_ASSIGN(RootJob job, DecodeRootJob(bytes));
  return std::optional(std::move(job));
}

// The root image with a layer in memory above it becomes the root; the initramfs is covered by it.
Status EnterRoot() {
  WRIT_ASSIGN(std::string image, AwaitDrive(kRootDrive));
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

Status MountImage(const char* drive, const char* place) {
  WRIT_ASSIGN(std::string device, AwaitWhole(drive));
  return Mount(device.c_str(), place, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID);
}

Status MountInputs(bool on_base) {
  WRIT_TRY(MountImage(kInputsDrive, kInputsDir));
  return on_base ? MountImage(kBaseDrive, kBaseDir) : Status();
}

// What is dirty lies in memory anyway, but for `sync`.
void Quiesce(Caches caches) {
  ::sync();
  if (caches == Caches::kKept) return;
  UniqueFd drop(::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC));
  if (drop) (void)WriteAll(drop.get(), "1").has_value();
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

// For the probe of the connections that a job makes, and for the proxy's listener of a step.
Status BringUpLoopback() {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ifreq loopback{};
  std::memcpy(loopback.ifr_name, "lo", sizeof "lo");
  loopback.ifr_flags = IFF_UP;
  if (!socket || ::ioctl(socket.get(), SIOCSIFFLAGS, &loopback) != 0)
    return SysError(errno, "agent.loopback", "cannot bring the loopback up");
  return {};
}

Status OpenChannel(AgentOptions& options) {
  if (CommandWord(kVsockWord)) {
    // The guest listens: its socket is there after a restore, when every connection is gone.
    options.listener.reset(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_ANY;
    address.svm_port = kAgentVsockPort;
    if (!options.listener ||
        ::bind(options.listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) ||
        ::listen(options.listener.get(), 1) != 0)
      return SysError(errno, "agent.channel", "cannot listen for the host");
    return {};
  }
  WRIT_ASSIGN(std::string port, AwaitDevice("/sys/class/virtio-ports", "name", kAgentPort));
  options.transport.reset(::open(port.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!options.transport) return SysError(errno, "agent.channel", "cannot open " + port);
  return {};
}

}  // namespace

Result<AgentOptions> BootGuest() {
  AgentOptions options;
  options.take_identity = TakeIdentity;
  options.hold_job = HoldJobs;
  options.set_clock = SetClockOfMachine;
  options.release_job = ReleaseJobs;
  options.inputs = kInputsDir;
  options.base = kBaseDir;
  options.mount_inputs = MountInputs;
  options.quiesce = Quiesce;
  options.scratch = kScratchDir;
  WRIT_TRY(TakeTokens(options));
  WRIT_TRY(Mount("dev", "/dev", "devtmpfs", MS_NOSUID));
  WRIT_TRY(Mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  WRIT_TRY(Mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  WRIT_TRY(Mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
  WRIT_TRY(LoadModules());
  WRIT_TRY(BringLauncher(options));
  WRIT_ASSIGN(options.root_job, ReadRootJob());
  WRIT_TRY(EnterRoot());
  if (options.root_job) {
    // Once more, without what this boot has written above it.
    WRIT_ASSIGN(std::string image, AwaitDrive(kRootDrive));
    options.image = "/run/writ/image";
    WRIT_TRY(Mount(image.c_str(), options.image, "erofs", MS_RDONLY | MS_NODEV));
  }
  WRIT_TRY(MakeCgroups());
  WRIT_TRY(BringUpLoopback());
  const rlimit files{kOpenFiles, kOpenFiles};
  ::setrlimit(RLIMIT_NOFILE, &files);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  const std::uint64_t total = static_cast<std::uint64_t>(memory.totalram) * memory.mem_unit;
  options.job_memory = total > 2 * kReservedMemory ? total - kReservedMemory : total / 2;
  WRIT_TRY(OpenChannel(options));
  return options;
}

}  // namespace writ::backends::microvm
