#include "writ/backends/linux/process_tree.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>

#include "writ/backends/linux/pidfd.h"
#include "writ/backends/linux/process_facts.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kProcFileLimit = 4u << 20;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// The numeric names of a directory: pids of /proc, threads of a process.
std::vector<pid_t> NumericEntries(const std::string& path) {
  std::vector<pid_t> found;
  std::unique_ptr<DIR, CloseDir> dir(::opendir(path.c_str()));
  if (dir == nullptr) return found;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string_view name(entry->d_name);
    pid_t pid = 0;
    auto [end, err] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (err == std::errc() && end == name.data() + name.size()) found.push_back(pid);
  }
  return found;
}

std::string ProcFile(pid_t pid, std::string_view name) {
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/" + std::string(name), kProcFileLimit);
  return text ? std::move(text).value() : std::string();
}

// Fields 14 (utime) to 17 (cstime) of /proc/PID/stat, two of them added.
std::uint64_t TicksOf(pid_t pid, int first_field) {
  std::string stat = ProcFile(pid, "stat");
  auto at = stat.rfind(')');
  if (at == std::string::npos) return 0;
  std::istringstream fields(stat.substr(at + 1));
  std::string skipped;
  for (int field = 3; field < first_field; ++field) fields >> skipped;
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  fields >> user >> system;
  return user + system;
}
std::uint64_t OwnTicks(pid_t pid) {
  return TicksOf(pid, 14);
}
std::uint64_t WaitedForTicks(pid_t pid) {
  return TicksOf(pid, 16);
}

void AppendNumbers(std::string_view text, pid_t parent, std::vector<TreeMember>& out) {
  while (!text.empty()) {
    pid_t pid = 0;
    auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (err != std::errc()) return;
    out.push_back({pid, parent});
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
}

bool KernelListsChildren() {
  static const bool known = ::access("/proc/thread-self/children", R_OK) == 0;
  return known;
}

std::vector<TreeMember> DescendantsByChildren(pid_t root) {
  std::vector<TreeMember> members;
  std::size_t next = 0;
  for (pid_t parent = root;;) {
    std::string process = "/proc/" + std::to_string(parent) + "/task";
    for (pid_t tid : NumericEntries(process)) {
      auto text = ReadFile(process + "/" + std::to_string(tid) + "/children", kProcFileLimit);
      if (text) AppendNumbers(*text, parent, members);
    }
    if (next == members.size()) return members;
    parent = members[next++].pid;
  }
}

// Without CONFIG_PROC_CHILDREN: the parent of every process, then the closure.
std::vector<TreeMember> DescendantsByParents(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (pid_t pid : NumericEntries("/proc")) children.emplace(ParentOf(pid), pid);
  std::vector<TreeMember> members;
  std::size_t next = 0;
  for (pid_t parent = root;;) {
    auto [first, last] = children.equal_range(parent);
    for (auto it = first; it != last; ++it) members.push_back({it->second, parent});
    if (next == members.size()) return members;
    parent = members[next++].pid;
  }
}

}  // namespace

Status BecomeSubreaper() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return SysError(errno, "linux.subreaper", "cannot become the reaper of the job's orphans");
  return {};
}

std::vector<TreeMember> DescendantsOf(pid_t root) {
  return KernelListsChildren() ? DescendantsByChildren(root) : DescendantsByParents(root);
}

std::vector<TreeMember> Descendants() {
  return DescendantsOf(::getpid());
}

std::chrono::microseconds TreeCpuTime(pid_t root) {
  std::uint64_t ticks = WaitedForTicks(root);
  for (const TreeMember& member : DescendantsOf(root))
    ticks += OwnTicks(member.pid) + WaitedForTicks(member.pid);
  static const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return std::chrono::microseconds(ticks * 1'000'000 / per_second);
}

std::uint64_t TreeTasks(pid_t root) {
  std::uint64_t tasks = 0;
  for (const TreeMember& member : DescendantsOf(root))
    tasks += NumericEntries("/proc/" + std::to_string(member.pid) + "/task").size();
  return tasks;
}

int SignalDescendants(int signal) {
  int reached = 0;
  for (const TreeMember& member : Descendants()) {
    auto pidfd = OpenPidfd(member.pid);
    // A process that was reparented meanwhile is found under its new parent by the next pass.
    if (!pidfd || ParentOf(member.pid) != member.parent) continue;
    if (SignalPidfd(pidfd->get(), signal) == 0) ++reached;
  }
  return reached;
}

bool IsOfUid(pid_t pid, uid_t uid) {
  // The directory belongs to the effective uid (to root where the process is not dumpable).
  const std::string status = ProcFile(pid, "status");
  const auto at = status.find("\nUid:\t");
  if (at == std::string::npos) return false;
  uid_t real = 0;
  std::from_chars(status.data() + at + 6, status.data() + status.size(), real);
  return real == uid && status.find("\nState:\tZ") == std::string::npos;
}

std::vector<pid_t> ProcessesOfUid(uid_t uid) {
  std::vector<pid_t> found = NumericEntries("/proc");
  std::erase_if(found, [&](pid_t pid) { return !IsOfUid(pid, uid); });
  return found;
}

std::uint64_t TasksOfUid(uid_t uid) {
  std::uint64_t tasks = 0;
  for (pid_t pid : ProcessesOfUid(uid))
    tasks += NumericEntries("/proc/" + std::to_string(pid) + "/task").size();
  return tasks;
}

std::string ProgramName(pid_t pid) {
  std::string name = ProcFile(pid, "comm");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  for (char& c : name) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return name.empty() ? "?" : name;
}

}  // namespace writ::backends
