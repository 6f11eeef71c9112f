#include "job_namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "job_init.h"
#include "writ/backends/linux/mount_tree.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

// The cgroup namespace is made by init itself, once it is in its cgroups.
constexpr std::uint64_t kNamespaces =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;

Status WriteFileOnce(const std::string& path, const std::string& text) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return SysError(errno, "launch.namespaces", "cannot write " + path);
  return {};
}

Status MapIds(pid_t pid, const LaunchPlan& plan) {
  const NamespacePlan& namespaces = *plan.namespaces;
  const std::string proc = "/proc/" + std::to_string(pid) + "/";
  if (plan.identity == IdentityStep::kCheck) WRIT_TRY(WriteFileOnce(proc + "setgroups", "deny"));
  auto line = [](std::uint64_t inside, std::uint64_t outside) {
    return std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
  };
  const bool staged = !namespaces.runtime.empty();
  WRIT_TRY(WriteFileOnce(proc + "gid_map", line(staged ? 0 : namespaces.inside_gid, plan.gid)));
  return WriteFileOnce(proc + "uid_map", line(staged ? 0 : namespaces.inside_uid, plan.uid));
}

Result<std::vector<UniqueFd>> MapLowerTrees(const LaunchPlan& plan) {
  std::vector<UniqueFd> trees;
  for (const ViewStep& step : plan.namespaces->view) {
    if (step.kind != ViewStep::Kind::kOverlay || step.lower_owner != LowerOwner::kRoot) continue;
    WRIT_ASSIGN(UniqueFd lower, OpenUnlinked(step.source));
    WRIT_ASSIGN(UniqueFd tree, CloneTree(lower.get()));
    WRIT_TRY(MapRootTo(tree.get(), plan.uid, plan.gid));
    trees.push_back(std::move(tree));
  }
  return trees;
}

// The child is a copy of us, as after fork(2). `entered`: it was born in that group.
pid_t CloneInit(int cgroup, bool& entered) {
  clone_args args{};
  args.flags = kNamespaces;
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(cgroup);
  }
  long pid = ::syscall(SYS_clone3, &args, sizeof args);
  entered = cgroup >= 0;
  if (pid < 0 && (errno == ENOSYS || errno == EPERM)) {  // a container's filter refuses clone3
    entered = false;
    pid = ::syscall(SYS_clone, kNamespaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  }
  return static_cast<pid_t>(pid);
}

}  // namespace

Result<JobInit> StartInit(const LaunchPlan& plan, int supplies) {
  WRIT_ASSIGN(std::vector<UniqueFd> lower_trees, MapLowerTrees(plan));
  WRIT_ASSIGN(SocketPair pair, MakeSeqpacketPair());
  UniqueFd cgroup;
  if (!plan.born_in_cgroup.empty()) {
    cgroup.reset(::open(plan.born_in_cgroup.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!cgroup) return SysError(errno, "launch.cgroup", "cannot open the job's cgroup");
  }
  // An ordinary user may write the maps of a process only while that can be looked into; no secret
  // has come here yet.
  ::prctl(PR_SET_DUMPABLE, 1);
  JobInit init;
  bool entered = false;
  init.pid = CloneInit(cgroup.get(), entered);
  if (init.pid == 0) {
    pair.first.reset();
    RunInit(plan, std::move(pair.second));
  }
  if (init.pid < 0) {
    const int err = errno;
    ::prctl(PR_SET_DUMPABLE, 0);
    return SysError(err, "launch.namespaces", "cannot make the job's namespaces");
  }
  init.socket = std::move(pair.first);
  Status mapped = MapIds(init.pid, plan);
  ::prctl(PR_SET_DUMPABLE, 0);
  if (!mapped) return std::move(mapped).error();
  // It waits for word from us, and has made nothing that would count elsewhere.
  if (!entered && !plan.born_in_cgroup.empty())
    WRIT_TRY(WriteFileOnce(plan.born_in_cgroup + "/cgroup.procs", std::to_string(init.pid)));
  for (const std::string& dir : plan.cgroup_dirs)
    WRIT_TRY(WriteFileOnce(dir + "/cgroup.procs", std::to_string(init.pid)));
  std::vector<int> fds;
  for (const UniqueFd& tree : lower_trees) fds.push_back(tree.get());
  if (supplies >= 0) fds.push_back(supplies);
  WRIT_TRY(SendWithFds(init.socket.get(), kMapped, fds));
  return init;
}

}  // namespace writ::backends::launch
