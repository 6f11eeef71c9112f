#include <algorithm>
#include <string_view>

#include "writ/backends/plan.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

Error Invalid(std::string code, std::string message) {
  return Error{ErrorKind::kInvalid, "plan." + std::move(code), std::move(message)};
}

bool HasNul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

bool IsRunId(std::string_view id) {
  return !id.empty() && id.size() <= 80 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

bool IsVariableName(std::string_view name) {
  return !name.empty() && name.find('=') == std::string_view::npos && !HasNul(name);
}

Status CheckAbsolute(const std::string& path, std::string_view what) {
  if (path.empty() || path.front() != '/' || HasNul(path) ||
      path.find("/../") != std::string::npos || path.ends_with("/.."))
    return Invalid("path_not_absolute",
                   std::string(what) + " is not an absolute path without \"..\"");
  return {};
}

Status CheckEnvironment(const Environment& env) {
  for (const Variable& v : env.vars) {
    if (!IsVariableName(v.name))
      return Invalid("bad_variable_name", "an environment variable has no usable name");
    if (HasNul(v.value))
      return Invalid("nul_in_variable", "the variable " + v.name + " holds a NUL byte");
  }
  for (const SecretVariable& v : env.secrets) {
    if (!IsVariableName(v.name))
      return Invalid("bad_variable_name", "a secret has no usable variable name");
    if (HasNul(v.value.Reveal()))
      return Invalid("nul_in_variable", "the secret variable " + v.name + " holds a NUL byte");
  }
  return {};
}

Status CheckWorkspace(const Workspace& workspace) {
  if (const auto* plain = std::get_if<PlainWorkspace>(&workspace))
    return CheckAbsolute(plain->dir, "the workspace");
  const auto& mount = std::get<WorkspaceMount>(workspace);
  WRIT_TRY(CheckAbsolute(mount.lower, "the workspace's lower tree"));
  WRIT_TRY(CheckAbsolute(mount.upper, "the workspace's upper tree"));
  if (!mount.kept.empty()) WRIT_TRY(CheckAbsolute(mount.kept, "the folder of what is kept"));
  return CheckAbsolute(mount.work, "the workspace's work folder");
}

}  // namespace

Status ValidatePlan(const Plan& plan) {
  if (!IsRunId(plan.run_id))
    return Invalid("bad_run_id", "the run id is not 1 to 80 of A-Z a-z 0-9 _ -");
  if (plan.identity.uid == 0 || plan.identity.gid == 0)
    return Error{ErrorKind::kInvalid, "plan.root_identity",
                 "a job never runs as uid or gid 0 of the host",
                 "configure a range of job uids for a runner that runs as root"};
  if (plan.identity.uid == static_cast<uid_t>(-1) || plan.identity.gid == static_cast<gid_t>(-1))
    return Invalid("bad_identity", "the job's uid or gid is the reserved value -1");
  if (plan.argv.empty() || plan.argv.front().empty())
    return Invalid("empty_argv", "there is no program to run");
  for (const std::string& argument : plan.argv) {
    if (HasNul(argument)) return Invalid("nul_in_argument", "an argument holds a NUL byte");
  }
  WRIT_TRY(CheckEnvironment(plan.env));
  WRIT_TRY(CheckWorkspace(plan.workspace));
  if (!plan.cwd.empty() && !IsSafeRelativePath(plan.cwd))
    return Invalid("cwd_outside_workspace",
                   "the working directory is not a relative path inside the workspace");
  WRIT_TRY(CheckAbsolute(plan.session_dir, "the session directory"));
  for (const HomeFile& file : plan.home_files) {
    if (!IsSafeRelativePath(file.path))
      return Invalid("home_path", "a file for HOME has a path that leaves it");
  }
  for (const std::string& dir : plan.home_directories) {
    if (!IsSafeRelativePath(dir))
      return Invalid("home_path", "a directory for HOME has a path that leaves it");
  }
  for (const std::string& tree : plan.read_only_trees) {
    WRIT_TRY(CheckAbsolute(tree, "a read-only tree"));
    if (tree == "/") return Invalid("read_only_root", "the whole host cannot be a read-only tree");
  }
  if (!plan.checkpoint.empty()) {
    if (plan.tier != Tier::kMicrovm)
      return Error{ErrorKind::kUnsupported, "plan.checkpoint",
                   "only a machine's workspace can be made from a checkpoint",
                   "isolation: microvm"};
    if (std::find(plan.read_only_trees.begin(), plan.read_only_trees.end(), plan.checkpoint) ==
        plan.read_only_trees.end())
      return Invalid("checkpoint_unshown", "the checkpoint is none of the read-only trees");
  }
  if (plan.image.size() > 200 || HasNul(plan.image))
    return Invalid("bad_image", "the image's name is too long or holds a NUL byte");
  if (plan.terminal && (plan.terminal->rows == 0 || plan.terminal->columns == 0))
    return Invalid("bad_terminal", "a terminal has at least one row and one column");
  if (plan.limits.wall_timeout <= std::chrono::milliseconds(0))
    return Invalid("bad_timeout", "the wall time-out is not greater than zero");
  if (plan.limits.term_grace < std::chrono::milliseconds(0))
    return Invalid("bad_timeout", "the grace between SIGTERM and SIGKILL is negative");
  if (plan.limits.cpu_time < std::chrono::milliseconds(0))
    return Invalid("bad_limit", "the limit of CPU time is negative");
  if (plan.limits.processes == 0 || plan.limits.open_files < 16)
    return Invalid("bad_limit", "a job needs at least one process and 16 open files");
  return {};
}

}  // namespace writ::backends
