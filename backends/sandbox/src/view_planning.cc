#include "writ/backends/sandbox/view_planning.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "writ/backends/job/private_dirs.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

// HOME lies in memory; a job that has no limit of its own must still not fill the host's.
constexpr MemoryPlace kMostHome{2ull << 30, 200'000};
constexpr MemoryPlace kMostSharedMemory{256ull << 20, 65'536};
constexpr char kSharedMemory[] = "dev/shm";

MemoryPlace Within(const MemoryPlace& most, const Limits& limits) {
  constexpr std::uint64_t kMoreBytes = 16u << 20;
  constexpr std::uint64_t kMoreFiles = 1024;
  MemoryPlace out = most;
  if (limits.disk_bytes != 0) out.bytes = std::min(out.bytes, limits.disk_bytes + kMoreBytes);
  if (limits.disk_files != 0) out.files = std::min(out.files, limits.disk_files + kMoreFiles);
  return out;
}

std::string Below(const std::string& absolute) {
  return absolute.substr(1);
}

ViewStep File(std::string target, std::string bytes, mode_t mode = 0644) {
  ViewStep step;
  step.kind = Kind::kFile;
  step.target = std::move(target);
  step.source = std::move(bytes);
  step.mode = mode;
  return step;
}

ViewStep Bind(std::string target, std::string source, BindAccess access) {
  ViewStep step;
  step.kind = Kind::kBind;
  step.target = std::move(target);
  step.source = std::move(source);
  step.access = access;
  return step;
}

void AddAccounts(const Plan& plan, const JobPaths& paths, std::vector<ViewStep>& view) {
  const std::string& user = plan.identity.user_name;
  const std::string uid = std::to_string(kInsideUid);
  const std::string gid = std::to_string(kInsideGid);
  view.push_back(File("etc/passwd", user + ":x:" + uid + ":" + gid + "::" + paths.home +
                                        ":/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"));
  view.push_back(File("etc/group", user + ":x:" + gid + ":\nnogroup:x:65534:\n"));
}

// There is no resolver; names are the proxy's affair.
void AddNames(std::vector<ViewStep>& view) {
  view.push_back(File("etc/hostname", std::string(kHostName) + "\n"));
  view.push_back(File("etc/hosts", std::string("127.0.0.1 localhost ") + kHostName +
                                       "\n::1 localhost ip6-localhost\n"));
  view.push_back(File("etc/resolv.conf", ""));
  view.push_back(File("etc/nsswitch.conf",
                      "passwd: files\ngroup: files\nshadow: files\nhosts: files\nnetworks: "
                      "files\nprotocols: files\nservices: files\n"));
}

void AddHome(const Plan& plan, const JobPaths& paths, std::vector<ViewStep>& view) {
  const std::string home = Below(paths.home);
  const MemoryPlace size = Within(kMostHome, plan.limits);
  ViewStep place;
  place.kind = Kind::kTmpfs;
  place.target = home;
  place.mode = 0700;
  place.bytes = size.bytes;
  place.inodes = size.files;
  view.push_back(std::move(place));
  auto add_directory = [&view, &home](const std::string& path) {
    ViewStep dir;
    dir.target = home + "/" + path;
    dir.mode = 0700;
    view.push_back(std::move(dir));
  };
  for (const std::string& path : plan.home_directories) {
    for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1))
      add_directory(path.substr(0, at));
    add_directory(path);
  }
  for (const HomeFile& file : HomeFilesOf(plan)) {
    for (std::size_t at = file.path.find('/'); at != std::string::npos;
         at = file.path.find('/', at + 1))
      add_directory(file.path.substr(0, at));
    view.push_back(File(home + "/" + file.path, file.bytes, file.mode & 0777));
  }
}

void AddWorkspace(const Plan& plan, const JobPaths& paths, launch::LowerOwner lower_owner,
                  std::vector<ViewStep>& view) {
  const std::string target = Below(paths.workspace);
  if (const auto* plain = std::get_if<PlainWorkspace>(&plan.workspace)) {
    view.push_back(Bind(target, plain->dir, BindAccess::kReadWrite));
    return;
  }
  const auto& mount = std::get<WorkspaceMount>(plan.workspace);
  ViewStep overlay;
  overlay.kind = Kind::kOverlay;
  overlay.target = target;
  overlay.source = mount.lower;
  overlay.upper = mount.upper;
  overlay.work = mount.work;
  overlay.lower_owner = lower_owner;
  view.push_back(std::move(overlay));
}

}  // namespace

MemoryPlace SharedMemoryPlace(const Limits& limits) {
  return Within(kMostSharedMemory, limits);
}

std::vector<ViewStep> PlanView(const Plan& plan, const JobPaths& paths,
                               const std::vector<ViewStep>& system, Programs programs,
                               launch::LowerOwner lower_owner) {
  std::vector<ViewStep> view = system;
  for (ViewStep& step : view) {
    if (step.target != kSharedMemory) continue;
    const MemoryPlace size = SharedMemoryPlace(plan.limits);
    step.bytes = size.bytes;
    step.inodes = size.files;
  }
  AddAccounts(plan, paths, view);
  AddNames(view);
  AddHome(plan, paths, view);
  view.push_back(Bind(Below(paths.tmp), plan.session_dir + "/" + kTmpName, BindAccess::kReadWrite));
  for (const std::string& tree : plan.read_only_trees)
    if (programs == Programs::kOfAnImage ||
        tree.rfind("/usr/", 0) != 0)  // seen already, and nothing can be made in it
      view.push_back(Bind(Below(tree), tree, BindAccess::kReadOnly));
  AddWorkspace(plan, paths, lower_owner, view);
  return view;
}

std::vector<std::string> OwnFilesOfEtc() {
  return {"/etc/passwd", "/etc/group",       "/etc/hostname",
          "/etc/hosts",  "/etc/resolv.conf", "/etc/nsswitch.conf"};
}

std::vector<std::string> WritablePlaces(const JobPaths& paths) {
  return {paths.workspace, paths.home, paths.tmp, "/dev/shm"};
}

}  // namespace writ::backends
