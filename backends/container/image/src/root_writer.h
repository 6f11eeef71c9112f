// RootWriter: makes an image's root directory, entry by entry, beneath one directory handle.
//
// No entry is ever made through a symbolic link, nothing outside of the root is looked at, an
// existing file is never written into (hard links of lower layers keep their bytes), devices, FIFOs
// and sockets are not made. Modes lose set-id bits, the sticky bit and what group and others may
// write; the importing user keeps what it needs to remove the tree. Owners, extended attributes and
// capabilities are not kept: everything belongs to the importing user.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>

#include "writ/backends/image/import_limits.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::image {

class RootWriter {
 public:
  // `root` is borrowed and outlives the writer, as do the others.
  RootWriter(int root, const ImportLimits& limits, ImportFindings& findings)
      : root_(root), limits_(limits), findings_(findings) {}

  // Whiteouts hide what is below this layer, not what it brings itself.
  void BeginLayer() { made_.clear(); }

  // Names are clean (entry_name.h) and not empty. `mtime` in seconds.
  Status Directory(const std::string& name, mode_t mode);
  // `fill` writes the content; the file is gone again where it fails.
  Status File(const std::string& name, mode_t mode, std::int64_t mtime,
              const std::function<Status(int fd)>& fill);
  Status Symlink(const std::string& name, const std::string& target);  // data: never followed here
  Status HardLink(const std::string& name, const std::string& target);
  void SkipSpecial() { ++findings_.skipped_special; }
  Status Whiteout(const std::string& name);         // `name` without its prefix
  Status OpaqueDirectory(const std::string& name);  // "" is the root

  // Counts bytes of files against the limit before they are written.
  Status CountBytes(std::uint64_t bytes);
  // The files and directories that a job's own are put over, in every image.
  Status MakePlaces();

 private:
  Status CountEntry(const std::string& name);
  Result<UniqueFd> Parent(const std::string& name);
  Status RemoveExisting(int parent, const std::string& last);
  Status HideLower(int dir, const std::string& path);
  mode_t HarmlessMode(mode_t mode);

  int root_;
  const ImportLimits& limits_;
  ImportFindings& findings_;
  std::unordered_set<std::string> made_;  // by this layer, with what leads there
};

}  // namespace writ::backends::image
