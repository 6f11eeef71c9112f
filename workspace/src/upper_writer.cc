#include "upper_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

// The place to cover for a file that is gone: it, or the highest folder that went with it. Empty
// where something that the input has stands there, which covers it already.
Result<std::string> PlaceToCover(const InputState& state, const std::string& gone) {
  for (std::size_t slash = gone.find('/'); slash != std::string::npos;
       slash = gone.find('/', slash + 1)) {
    std::string folder = gone.substr(0, slash);
    WRIT_ASSIGN(std::optional<InputFile> instead, state.FindInput(folder));
    if (instead) return std::string();
    WRIT_ASSIGN(bool has_more, state.InputHasBelow(folder));
    if (!has_more) return folder;
  }
  WRIT_ASSIGN(bool is_folder_now, state.InputHasBelow(gone));
  return is_folder_now ? std::string() : gone;
}

Status Cover(int upper, const std::string& path, const std::optional<JobOwner>& owner) {
  FileSystemIds ids;
  if (owner) WRIT_TRY(ids.Take(*owner));
  std::size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  UniqueFd folder;
  if (slash != std::string::npos) {
    WRIT_ASSIGN(folder, MakeDirectoriesBeneath(upper, path.substr(0, slash), 0755));
  }
  int at = folder ? folder.get() : upper;
  // Any user may make this one device node, which is none (Linux 5.8).
  if (::mknodat(at, name.c_str(), S_IFCHR, 0) == 0) return {};
  Error error = SysError(errno, "workspace.no_whiteout",
                         "the removal of '" + QuotePath(path) + "' cannot be noted for an overlay");
  error.kind = errno == ENOSPC ? ErrorKind::kUnavailable : ErrorKind::kUnsupported;
  return error;
}

}  // namespace

Result<std::uint64_t> WriteUpper(const TreeWriteOptions& options, InputState& state) {
  std::vector<InputFile> files;
  std::set<std::string> covered;
  for (const auto& [path, file] : state.changes) {
    if (file) {
      files.push_back(*file);
      continue;
    }
    WRIT_ASSIGN(std::optional<TreeItem> before, state.FindBase(path));
    if (!before) continue;
    WRIT_ASSIGN(std::string place, PlaceToCover(state, path));
    if (!place.empty()) covered.insert(std::move(place));
  }
  std::uint64_t bytes = 0;
  if (!files.empty()) {
    WRIT_ASSIGN(bytes, WriteTree(options, files));
  }
  for (InputFile& file : files) {
    std::string path = file.item.path;
    state.changes[path] = std::move(file);
  }
  for (const std::string& path : covered) WRIT_TRY(Cover(options.target, path, options.owner));
  return bytes;
}

}  // namespace writ::workspace
