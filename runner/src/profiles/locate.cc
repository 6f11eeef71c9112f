// Finds an agent's program and what it needs, by reading names and modes. Nothing is executed.
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "plan/private_places.h"
#include "writ/base/file.h"
#include "writ/protocol/json.h"
#include "writ/runner/config.h"
#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

std::string RealPath(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return {};
  std::string out(resolved);
  free(resolved);
  return out;
}

bool IsProgram(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
}

std::string Search(std::string_view name, const std::vector<std::string>& dirs) {
  for (const std::string& dir : dirs) {
    std::string path = dir + "/" + std::string(name);
    if (IsProgram(path)) return path;
  }
  return {};
}

std::string Parent(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// Trees that every job sees anyway.
bool IsSystem(const std::string& path) {
  for (std::string_view root : {"/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/"})
    if (path.starts_with(root)) return true;
  return false;
}

// Others may enter every parent and read the file: what a job uid that owns nothing needs.
bool OthersReach(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || (info.st_mode & 0005) != 0005) return false;
  for (std::string at = Parent(path);; at = Parent(at)) {
    if (stat(at.c_str(), &info) != 0 || (info.st_mode & 0001) == 0) return false;
    if (at == "/") return true;
  }
}

std::string FirstLine(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[256];
  ssize_t n = fd.valid() ? read(fd.get(), buffer, sizeof buffer) : 0;
  if (n <= 2 || buffer[0] != '#' || buffer[1] != '!') return {};
  std::string_view text(buffer, static_cast<std::size_t>(n));
  return std::string(text.substr(0, text.find('\n')));
}

// Up from the program to the package.json of this package: a version without running anything.
std::optional<std::string> PackageVersion(const std::string& program, std::string_view package) {
  std::string at = Parent(program);
  for (int i = 0; i < 8 && at != "/"; ++i, at = Parent(at)) {
    Result<std::string> text = ReadFile(at + "/package.json", 1 << 20);
    if (!text) continue;
    Result<json::Value> value = json::Parse(*text);
    if (!value || value->FindString("name") != package) continue;
    if (auto version = value->FindString("version")) return std::string(*version);
  }
  return std::nullopt;
}

// The tree that holds a program: npm's global node_modules, else the parent of its bin folder, else
// its own folder.
std::string TreeOf(const std::string& program) {
  std::size_t modules = program.find("/node_modules/");
  if (modules != std::string::npos) return program.substr(0, modules) + "/node_modules";
  std::string dir = Parent(program);
  return dir.ends_with("/bin") && Parent(dir) != "/" ? Parent(dir) : dir;
}

// Up from the program of a node package to the folder of the package; empty: it is of none.
std::string PackageOf(const std::string& program) {
  std::string at = Parent(program);
  for (int i = 0; i < 8 && at != "/"; ++i, at = Parent(at))
    if (access((at + "/package.json").c_str(), F_OK) == 0) return at;
  return {};
}

// The most of an installation that can be shown to a job; empty: not even the program.
std::string ShowablePartOf(const std::string& program, bool of_node, const PrivatePlaces* hidden) {
  if (hidden == nullptr) return TreeOf(program);
  auto showable = [hidden](const std::string& tree) {
    return !tree.empty() && hidden->IsOneProgramsFolder(tree) && !hidden->ShownWith(tree);
  };
  for (const std::string& tree : {TreeOf(program), of_node ? PackageOf(program) : std::string()})
    if (showable(tree)) return tree;
  return hidden->ShownWith(program) ? std::string() : program;
}

// Of a program among the system's: npm's global node_modules, else the program alone.
std::string SystemPartOf(const std::string& program) {
  return program.find("/node_modules/") != std::string::npos ? TreeOf(program) : program;
}

void SortOnce(std::vector<std::string>& paths) {
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
}

}  // namespace

InstalledAgent Locate(const AgentProfile& profile, const LocateOptions& options) {
  InstalledAgent agent;
  const std::string kind(profile.kind);
  if (!profile.spawnable) {
    agent.lack = "agent " + kind + " is never started by a runner";
    agent.hint = "choose another agent kind";
    return agent;
  }
  if (profile.program.empty()) return agent;
  std::string found = options.configured_path.empty() ? Search(profile.program, options.search_path)
                                                      : options.configured_path;
  std::string program = found.empty() ? std::string() : RealPath(found);
  if (program.empty() || !IsProgram(program)) {
    agent.lack =
        "agent " + kind + " is not installed here: no program " + std::string(profile.program);
    agent.hint = profile.npm_package.empty()
                     ? "set agentPaths in the runner's configuration"
                     : "npm install -g " + std::string(profile.npm_package) +
                           ", or set agentPaths in the runner's configuration";
    return agent;
  }
  auto need = [&](const std::string& path, bool of_node) {
    if (options.job_uid != 0 && !OthersReach(path)) {
      agent.lack = "agent " + kind + " stands at " + path + ", which the job's user cannot reach";
      agent.hint = "install it below /usr/local, or open the folders on the way (chmod o+x)";
    }
    if (IsSystem(path)) {
      agent.system_parts.push_back(SystemPartOf(path));
      return;
    }
    const std::string part = ShowablePartOf(path, of_node, options.hidden);
    if (part.empty()) {
      agent.lack = "agent " + kind + " stands at " + path +
                   ", among what is private to the runner: a job must not see it";
      agent.hint = "install it outside of the state and work directories";
      return;
    }
    agent.read_only_trees.push_back(part);
  };
  const bool of_node = FirstLine(program).find("node") != std::string::npos;
  if (of_node) {
    std::string node = RealPath(Search("node", options.search_path));
    if (node.empty()) {
      agent.lack = "agent " + kind + " needs node, which is not in the runner's search path";
      agent.hint = "install node, or add its folder to searchPath";
      return agent;
    }
    agent.command.push_back(node);
    need(node, false);
  }
  agent.command.push_back(program);
  need(program, of_node);
  SortOnce(agent.read_only_trees);
  SortOnce(agent.system_parts);
  if (!profile.npm_package.empty()) agent.version = PackageVersion(program, profile.npm_package);
  return agent;
}

InstalledAgent LocateFor(const RunnerConfig& config, const AgentProfile& profile) {
  const std::string kind(profile.kind);
  const PrivatePlaces hidden = PrivatePlaces::Of(config);
  LocateOptions options{.configured_path = {},
                        .search_path = config.search_path,
                        .job_uid = config.uid_range ? config.uid_range->first : 0,
                        .hidden = &hidden};
  if (kind == "mock") {
    options.configured_path = config.mock_agent;
    if (config.mock_agent.empty()) options.search_path.clear();
  }
  if (auto path = config.agent_paths.find(kind); path != config.agent_paths.end())
    options.configured_path = path->second;
  return Locate(profile, options);
}

}  // namespace writ::runner
