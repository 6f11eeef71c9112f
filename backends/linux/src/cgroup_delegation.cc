#include "writ/backends/linux/cgroup_delegation.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sstream>
#include <string_view>

#include "own_groups.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::string_view kUsed[] = {"cpu", "io", "memory", "pids"};

std::vector<std::string> Words(const std::string& path) {
  std::vector<std::string> out;
  auto text = ReadFile(path, kFileLimit);
  std::istringstream words(text ? *text : std::string());
  for (std::string word; words >> word;) out.push_back(word);
  return out;
}

std::string Parent(const std::string& dir) {
  return dir.substr(0, dir.rfind('/'));
}

std::string Name(const std::string& dir) {
  return dir.substr(dir.rfind('/') + 1);
}

bool IsGroup(const std::string& dir) {
  return ::access((dir + "/cgroup.procs").c_str(), F_OK) == 0;
}

// The kernel's root alone has no type.
bool IsRoot(const std::string& dir) {
  return ::access((dir + "/cgroup.type").c_str(), F_OK) != 0;
}

bool IsMarked(const std::string& dir) {
  for (const char* name : {"user.delegate", "trusted.delegate"}) {
    char value = 0;
    if (::getxattr(dir.c_str(), name, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

bool IsHandedOver(const std::string& dir) {
  if (IsMarked(dir)) return true;
  const uid_t user = ::geteuid();
  struct stat own {};
  struct stat above {};
  if (::stat(dir.c_str(), &own) != 0 || own.st_uid != user) return false;
  if (!IsGroup(Parent(dir))) return true;  // the top of what a container sees
  return user != 0 && ::stat(Parent(dir).c_str(), &above) == 0 && above.st_uid != user;
}

bool IsWritable(const std::string& dir) {
  for (const char* file : {"", "/cgroup.procs", "/cgroup.subtree_control"})
    if (::access((dir + file).c_str(), W_OK) != 0) return false;
  return true;
}

// This process and what it has started, of those that sit in `dir`; `others`: one that is not.
std::vector<std::string> OwnProcesses(const std::string& dir, std::string& others) {
  std::vector<std::string> ours{std::to_string(::getpid())};
  for (const TreeMember& member : DescendantsOf(::getpid()))
    ours.push_back(std::to_string(member.pid));
  std::vector<std::string> out;
  for (const std::string& pid : Words(dir + "/cgroup.procs")) {
    if (std::find(ours.begin(), ours.end(), pid) != ours.end())
      out.push_back(pid);
    else
      others = pid;
  }
  return out;
}

// A group in `dir` that neither a runner nor systemd has made; empty: none.
std::string GroupOfOthers(const std::string& dir, const std::string& own) {
  std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(dir.c_str()), ::closedir);
  while (const dirent* entry = list ? ::readdir(list.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    // Of a control process of the unit (ExecReload=), jobs' own, probes.
    if (name == ".control" || name.starts_with("writ-")) continue;
    if (name != kRunnerLeaf && dir + "/" + name != own) return name;
  }
  return "";
}

std::string HowToHaveOne() {
  return ::geteuid() == 0 ? "run it as a service with Delegate=yes, or by hand as the only process "
                            "of its group: systemd-run --scope -p Delegate=yes writ ..."
                          : "give its service Delegate=yes, or: systemd-run --user --scope -p "
                            "Delegate=yes writ ...";
}

// Why `dir` is not ours; empty: it is.
void Judge(const std::string& dir, const std::string& own, CgroupDelegation& found) {
  found.mend = HowToHaveOne();
  if (IsRoot(dir)) {
    found.reason = "this process is in the root cgroup, which is the whole host's";
    return;
  }
  if (!IsHandedOver(dir)) {
    found.reason = "the cgroup " + dir + " is not delegated to this process";
    return;
  }
  if (!IsWritable(dir)) {
    found.reason = "the cgroup " + dir + " cannot be written by this process";
    return;
  }
  std::string others;
  OwnProcesses(dir, others);
  if (!others.empty()) {
    found.reason = "process " + others + " sits in the delegated cgroup " + dir +
                   " too, so that it can hand no controllers on";
    found.mend =
        "start the runner as the only process of its group (exec), or put the others into "
        "a group of their own outside of it";
    return;
  }
  if (const std::string group = GroupOfOthers(dir, own); !group.empty()) {
    found.reason =
        "the delegated cgroup " + dir + " has the group " + group + " of somebody else in it";
    return;
  }
  found.mend.clear();
}

}  // namespace

bool CgroupDelegation::Has(const std::string& controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

CgroupDelegation LookAtDelegation() {
  using State = CgroupDelegation::State;
  CgroupDelegation found;
  const std::string own = OwnCgroupDirectories()[""];
  if (own.empty() || !IsGroup(own)) return found;
  // The group above is the one that was handed over where we sit in its leaf, or where systemd has
  // put us below it; a mark on our own tells that we have not moved yet.
  const std::string above = Parent(own);
  const bool below = IsGroup(above) && !IsRoot(above) &&
                     (Name(own) == kRunnerLeaf || (!IsMarked(own) && IsHandedOver(above)));
  found.group = below ? above : own;
  for (const std::string& name : Words(found.group + "/cgroup.controllers"))
    if (std::find(std::begin(kUsed), std::end(kUsed), name) != std::end(kUsed))
      found.controllers.push_back(name);
  if (found.controllers.empty()) return found;
  Judge(found.group, own, found);
  if (!found.reason.empty()) {
    found.state = State::kRefused;
    found.group = own;
    return found;
  }
  const std::vector<std::string> on = Words(found.group + "/cgroup.subtree_control");
  const bool all = std::all_of(
      found.controllers.begin(), found.controllers.end(),
      [&](const std::string& each) { return std::find(on.begin(), on.end(), each) != on.end(); });
  found.state = below && all ? State::kTaken : State::kOffered;
  return found;
}

Status TakeDelegatedGroup() {
  const CgroupDelegation found = LookAtDelegation();
  if (found.state != CgroupDelegation::State::kOffered) return {};
  const std::string leaf = found.group + "/" + kRunnerLeaf;
  std::string others;
  const std::vector<std::string> here = OwnProcesses(found.group, others);
  if (!here.empty() && ::mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST)
    return SysError(errno, "cgroup.make", "cannot make the cgroup " + leaf);
  for (const std::string& pid : here) WRIT_TRY(WriteControl(leaf + "/cgroup.procs", pid));
  // One by one: what the kernel refuses takes nothing else with it.
  std::string refused;
  int why = 0;
  for (const std::string& name : found.controllers) {
    Status on = WriteControl(found.group + "/cgroup.subtree_control", "+" + name);
    if (on) continue;
    refused += (refused.empty() ? "" : ", ") + name;
    why = on.error().sys_errno;
  }
  if (refused.empty()) return {};
  Error error = SysError(why, "cgroup.not_handed_on",
                         "the cgroup " + found.group + " does not hand on " + refused);
  error.kind = ErrorKind::kUnavailable;
  if (why == EBUSY)
    error.hint = "a process has come into the group meanwhile: nothing but the runner may be in it";
  return error;
}

}  // namespace writ::backends
