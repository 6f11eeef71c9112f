#include "agent_parts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "runner_setup.h"
#include "writ/backends/image/tree_copy.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/runner/profiles.h"

namespace writ::cli {
namespace {

namespace image = backends::image;

constexpr char kLoader[] = "/lib64/ld-linux-x86-64.so.2";
constexpr std::chrono::seconds kBound{20};
constexpr std::uint64_t kMaxSaid = 256u << 10;

std::string Real(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : std::string();
}

// The libraries that a program is linked with, as its loader finds them here; none of a script or a
// static program.
Result<std::vector<std::string>> LibrariesOf(const std::string& program) {
  std::vector<std::string> out;
  if (::access(kLoader, X_OK) != 0) return out;
  WRIT_ASSIGN(Pipe said, MakePipe());
  SpawnOptions spawn;
  spawn.path = kLoader;
  spawn.argv = {kLoader, "--list", program};
  spawn.env = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  spawn.fds = {{said.write_end.get(), 1}};
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  said.write_end.reset();
  auto text = ReadAll(said.read_end.get(), kMaxSaid);
  WRIT_ASSIGN(const auto status, child.Wait(kBound));
  if (!text || !status || status->ShellCode() != 0) return out;
  for (std::size_t at = 0; (at = text->find("=> /", at)) != std::string::npos;) {
    at += 3;
    const std::string path = text->substr(at, text->find_first_of(" \n", at) - at);
    if (!path.empty()) out.push_back(path);
  }
  return out;
}

// Whether the root has something at that place, however it is reached there.
bool Has(int root, const std::string& path) {
  for (std::string place : {path.substr(1), Real(path).substr(1), "usr" + path})
    if (OpenBeneath(root, place, O_PATH)) return true;
  return false;
}

Status Put(int host, int root, const std::string& path, const std::string& target) {
  image::ImportFindings findings;
  auto copied = image::CopyBeneath(host, path.substr(1), root, target.substr(1), {}, findings,
                                   image::Links::kAsTheyAre);
  return copied ? Status() : Status(std::move(copied).error().With("putting in " + path));
}

void SortOnce(std::vector<std::string>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

Result<AgentParts> AgentParts::Find(const std::string& dir, const std::vector<std::string>& kinds) {
  AgentParts out;
  if (kinds.empty()) return out;
  RunnerSetup setup;
  setup.dir = dir;
  WRIT_ASSIGN(const RunnerSettings settings, ReadRunnerSettings(setup));
  for (const std::string& kind : kinds) {
    const runner::AgentProfile* profile = runner::FindProfile(kind);
    if (profile == nullptr)
      return Error{ErrorKind::kInvalid, "image.agent_unknown", "there is no agent " + kind,
                   "claude-code, codex, command and mock are there"};
    runner::InstalledAgent agent = runner::LocateFor(settings.config, *profile);
    if (!agent.lack.empty())
      return Error{ErrorKind::kUnsupported, "image.agent_missing", agent.lack, agent.hint};
    out.kinds_.push_back({kind, agent.version.value_or("")});
    for (auto* list : {&agent.read_only_trees, &agent.system_parts})
      out.parts_.insert(out.parts_.end(), list->begin(), list->end());
    out.programs_.insert(out.programs_.end(), agent.command.begin(), agent.command.end());
  }
  SortOnce(out.parts_);
  SortOnce(out.programs_);
  return out;
}

std::vector<std::string> AgentParts::Packages() const {
  // What both agents call by themselves, and the authorities that they ask about their hosts.
  const bool any = std::any_of(kinds_.begin(), kinds_.end(), [](const auto& part) {
    return part.kind == "claude-code" || part.kind == "codex";
  });
  return any ? std::vector<std::string>{"ca-certificates", "git"} : std::vector<std::string>{};
}

std::string AgentParts::Key() const {
  std::string out;
  for (const auto& part : kinds_) out += part.kind + " " + part.version + "\n";
  for (const std::string& part : parts_) {
    struct stat st {};
    (void)::stat(part.c_str(), &st);
    out += part + " " + std::to_string(st.st_size) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
           std::to_string(st.st_mtim.tv_nsec) + "\n";
  }
  return out;
}

Status AgentParts::Furnish(int root) const {
  WRIT_ASSIGN(const UniqueFd host, OpenDirectory("/"));
  for (const std::string& part : parts_) WRIT_TRY(Put(host.get(), root, part, part));
  bool linked = false;
  for (const std::string& program : programs_) {
    WRIT_ASSIGN(const std::vector<std::string> libraries, LibrariesOf(program));
    for (const std::string& library : libraries) {
      linked = true;
      if (Has(root, library)) continue;
      const std::string real = Real(library);
      if (real.empty()) continue;
      // Under the name that it is asked for by, in the folder that really holds it.
      const std::string folder = Real(library.substr(0, library.rfind('/')));
      WRIT_TRY(Put(host.get(), root, real, folder + library.substr(library.rfind('/'))));
    }
  }
  struct stat st {};
  if (linked && ::fstatat(root, "lib64", &st, AT_SYMLINK_NOFOLLOW) != 0)
    WRIT_TRY(Put(host.get(), root, Real(kLoader), kLoader));
  return {};
}

}  // namespace writ::cli
