#include "view_beside.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "writ/backends/launch/inside.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {
namespace {

constexpr std::uint64_t kMaxMounts = 1u << 20;  // bytes
constexpr unsigned long kQuiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;

bool IsBelow(std::string_view path, std::string_view dir) {
  return path.starts_with(dir) && (path.size() == dir.size() || path[dir.size()] == '/');
}

// In their order a mount comes after the one that it is in.
Result<std::set<std::string>> MountPoints() {
  UniqueFd file(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!file) return SysError(errno, "launch.beside", "cannot read the mounts");
  WRIT_ASSIGN(std::string text, ReadAll(file.get(), kMaxMounts));
  std::set<std::string> points;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string skipped;
    std::string point;
    for (int i = 0; i < 4; ++i) words >> skipped;
    if (!(words >> point) || point.find('\\') != std::string::npos)
      return SysError(EINVAL, "launch.beside", "a mount has no plain place");
    points.insert(point);
  }
  return points;
}

}  // namespace

Status CopyView() {
  WRIT_ASSIGN(const std::set<std::string> points, MountPoints());
  for (const std::string& point : points) {
    if (IsBelow(point, "/proc") || IsBelow(point, kBesidePlace)) continue;
    const std::string target = kBesideRoot + (point == "/" ? "" : point);
    // gVisor knows no MS_REC; what it clones keeps its flags.
    if (::mount(point.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0)
      return SysError(errno, "launch.beside", "cannot show " + point + " beside the job");
  }
  return {};
}

Status HideCopy() {
  if (::mount("none", kBesidePlace, "tmpfs", kQuiet | MS_RDONLY, "mode=0,size=4096") == 0)
    return {};
  return SysError(errno, "launch.beside", "cannot hide what is beside the job");
}

Status ShowOwnProcesses(const std::string& root) {
  if (::mount("proc", (root + "/proc").c_str(), "proc", kQuiet, nullptr) == 0) return {};
  return SysError(errno, "launch.beside", "cannot mount /proc");
}

pid_t ForkWithOwnPids() {
  return static_cast<pid_t>(
      ::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace writ::backends::launch
