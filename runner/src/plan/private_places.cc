#include "plan/private_places.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>
#include <utility>

#include "writ/backends/linux/system_roots.h"
#include "writ/base/file.h"

namespace writ::runner {
namespace {

// Deeper in a home than its own folders, and yet nobody's alone.
constexpr std::array<std::string_view, 3> kDrawers = {".local/lib", ".local/share", ".local/state"};
constexpr std::uint64_t kMaxMountsBytes = 4u << 20;

// Of what is there; the rest of the path as it stands.
std::string RealPath(const std::string& path) {
  std::error_code error;
  std::filesystem::path real = std::filesystem::weakly_canonical(path, error);
  return error ? path : real.string();
}

// `path` is `above` or lies below it.
bool LiesIn(std::string_view path, std::string_view above) {
  if (above == "/") return true;
  return path.starts_with(above) && (path.size() == above.size() || path[above.size()] == '/');
}

bool Overlap(std::string_view a, std::string_view b) {
  return LiesIn(a, b) || LiesIn(b, a);
}

// The kernel writes blanks, tabs, newlines and backslashes as \ooo.
std::string Unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      int value = 0;
      for (std::size_t digit = 1; digit <= 3; ++digit) value = value * 8 + (text[i + digit] - '0');
      out.push_back(static_cast<char>(value));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::vector<std::string> Homes() {
  std::vector<std::string> out;
  auto add = [&out](const char* path) {
    if (path == nullptr || path[0] != '/') return;
    std::string real = RealPath(path);
    if (real != "/" && std::find(out.begin(), out.end(), real) == out.end())
      out.push_back(std::move(real));
  };
  add(::getenv("HOME"));
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(::geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr)
    add(entry.pw_dir);
  return out;
}

std::vector<MountedAt> Mounts() {
  auto text = ReadFile("/proc/self/mountinfo", kMaxMountsBytes);
  return text ? ParseMounts(*text) : std::vector<MountedAt>();
}

std::vector<std::string> RealPaths(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const std::string& path : paths)
    if (!path.empty()) out.push_back(RealPath(path));
  return out;
}

std::vector<std::string> StateOf(const RunnerConfig& config) {
  std::vector<std::string> paths = config.private_dirs;
  paths.push_back(config.state_dir);
  paths.push_back(config.work_dir);
  return paths;
}

}  // namespace

std::vector<MountedAt> ParseMounts(std::string_view mountinfo) {
  std::vector<MountedAt> out;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    if (!(fields >> id >> parent >> device >> root >> point)) continue;
    out.push_back({std::move(device), Unescape(root), Unescape(point)});
  }
  return out;
}

PrivatePlaces PrivatePlaces::Of(const RunnerConfig& config) {
  std::vector<std::string> state = StateOf(config);
  state.push_back(config.plane.client_key_file);
  return PrivatePlaces(RealPaths(state), Homes(), Mounts());
}

std::optional<PrivatePlaces::InFileSystem> PrivatePlaces::Find(const std::string& path) const {
  const MountedAt* at = nullptr;  // of those at one place the last one is on top
  for (const MountedAt& mount : mounts_)
    if (LiesIn(path, mount.point) && (at == nullptr || mount.point.size() >= at->point.size()))
      at = &mount;
  if (at == nullptr) return std::nullopt;
  const std::string below = at->point == "/" ? path : path.substr(at->point.size());
  std::string within = (at->root == "/" ? "" : at->root) + below;
  return InFileSystem{at->device, within.empty() ? "/" : within};
}

std::optional<std::string> PrivatePlaces::ShownWith(const std::string& path) const {
  const std::optional<InFileSystem> shown = Find(path);
  for (const std::string& place : state_) {
    if (Overlap(path, place)) return place;
    const std::optional<InFileSystem> there = Find(place);
    if (!there) continue;
    if (shown && shown->device == there->device && Overlap(shown->path, there->path)) return place;
    for (const MountedAt& mount : mounts_)
      if (mount.device == there->device && LiesIn(mount.point, path) &&
          Overlap(mount.root, there->path))
        return place;
  }
  return std::nullopt;
}

bool PrivatePlaces::IsOneProgramsFolder(const std::string& path) const {
  return std::none_of(homes_.begin(), homes_.end(), [&path](const std::string& home) {
    if (LiesIn(home, path)) return true;
    if (!LiesIn(path, home) || path.ends_with("/node_modules")) return false;
    const std::string_view within = std::string_view(path).substr(home.size() + 1);
    return within.find('/') == std::string_view::npos ||
           std::find(kDrawers.begin(), kDrawers.end(), within) != kDrawers.end();
  });
}

Status CheckOutOfView(const RunnerConfig& config) {
  std::vector<std::string> state = StateOf(config);
  if (!config.uid_range) state.push_back(config.plane.client_key_file);
  const PrivatePlaces places(RealPaths(state), {}, Mounts());
  std::vector<std::string> roots;
  for (std::string_view name : backends::kProgramRoots) roots.push_back("/" + std::string(name));
  roots.push_back("/" + std::string(backends::kSettingsRoot));
  for (const std::string& root : roots) {
    if (::access(root.c_str(), F_OK) != 0) continue;
    if (auto place = places.ShownWith(RealPath(root)))
      return Error{ErrorKind::kDenied, "runner.private_in_view",
                   *place + " is private to the runner and can be reached through " + root +
                       ", which jobs see",
                   "keep it elsewhere (--dir; stateDir, workDir and plane.clientKeyFile in "
                   "runner.json), and mount it in no other place"};
  }
  return {};
}

}  // namespace writ::runner
