#include "writ/backends/job/entry_planning.h"

#include <algorithm>
#include <utility>

#include "writ/backends/job/base_environment.h"

namespace writ::backends {
namespace {

Error Invalid(const char* code, std::string message) {
  return Error{ErrorKind::kInvalid, std::string("entry.") + code, std::move(message)};
}

bool HasNul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

// Absolute, or from the workspace on. Components are as IsTreePath wants them.
Result<std::string> Resolve(std::string path, const std::string& workspace) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (!path.starts_with('/')) path = workspace + (path.empty() || path == "." ? "" : "/" + path);
  if (!IsTreePath(std::string_view(path).substr(1)))
    return Error{ErrorKind::kInvalid, "entry.bad_path",
                 "this is no path in a session: no empty, \".\" or \"..\" component",
                 "give an absolute path, or one from the workspace on"};
  return path;
}

}  // namespace

Result<launch::EntryRequest> PlanEntry(const Plan& job, EntryPlan entry, const JobPaths& paths) {
  launch::EntryRequest request;
  request.limits = entry.limits;
  if (entry.kind == EntryPlan::Kind::kCheckpoint) {
    if (job.tier != Tier::kMicrovm)
      return Error{ErrorKind::kUnsupported, "job.no_checkpoint",
                   "a job of this tier has no checkpoints",
                   "run it in a machine: --isolation microvm"};
    request.kind = launch::EntryRequest::Kind::kCheckpoint;
    request.path = paths.workspace;
    return request;
  }
  if (entry.kind != EntryPlan::Kind::kCommand) {
    request.kind = entry.kind == EntryPlan::Kind::kCopyOut ? launch::EntryRequest::Kind::kCopyOut
                                                           : launch::EntryRequest::Kind::kCopyIn;
    WRIT_ASSIGN(request.path, Resolve(std::move(entry.path), paths.workspace));
    return request;
  }
  if (entry.argv.empty() || entry.argv.front().empty())
    return Invalid("empty_argv", "there is no program to run");
  if (std::any_of(entry.argv.begin(), entry.argv.end(), HasNul))
    return Invalid("nul_in_argument", "an argument holds a NUL byte");
  for (const Variable& v : entry.env.vars) {
    if (v.name.empty() || v.name.find('=') != std::string::npos || HasNul(v.name) ||
        HasNul(v.value))
      return Invalid("bad_variable", "an environment variable has no usable name or value");
  }
  if (entry.terminal && (entry.terminal->rows == 0 || entry.terminal->columns == 0))
    return Invalid("bad_terminal", "a terminal has at least one row and one column");
  WRIT_ASSIGN(request.cwd, Resolve(std::move(entry.cwd), paths.workspace));
  request.argv = std::move(entry.argv);
  request.terminal = entry.terminal;
  request.environment = BuildEnvironment({paths.home, paths.tmp, job.identity.user_name, job.run_id,
                                          entry.terminal ? kSomeTerminal : kNoTerminal},
                                         entry.env, {});
  return request;
}

}  // namespace writ::backends
