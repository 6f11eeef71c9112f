// Places of this host that no job may be shown, and whether showing a folder to one would: by its
// path, by a mount of it below that folder, or because it is the same folder of a file system under
// another name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/runner/config.h"

namespace writ::runner {

// Of /proc/self/mountinfo.
struct MountedAt {
  std::string device;  // "8:1"
  std::string root;    // within its file system
  std::string point;
};
std::vector<MountedAt> ParseMounts(std::string_view mountinfo);

class PrivatePlaces {
 public:
  // Real paths. `state`: what holds keys, the journal and other runs. `homes`: of the runner's
  // user, parts of which may be shown and which as a whole may not.
  PrivatePlaces(std::vector<std::string> state, std::vector<std::string> homes,
                std::vector<MountedAt> mounts)
      : state_(std::move(state)), homes_(std::move(homes)), mounts_(std::move(mounts)) {}
  static PrivatePlaces Of(const RunnerConfig& config);

  // The private place that a job sees where it is shown `path` (a real path) and all below it.
  std::optional<std::string> ShownWith(const std::string& path) const;
  // For a folder that somebody's program merely stands in: it is no home, holds none, and is none
  // of the folders that stand in one and hold everything of a kind (~/.local, ~/.config, ~/work).
  bool IsOneProgramsFolder(const std::string& path) const;

 private:
  struct InFileSystem {
    std::string device;
    std::string path;
  };
  std::optional<InFileSystem> Find(const std::string& path) const;

  std::vector<std::string> state_, homes_;
  std::vector<MountedAt> mounts_;
};

// kDenied "runner.private_in_view": every job would see the runner's state, its work directory or,
// with the runner's own uid, its client key.
Status CheckOutOfView(const RunnerConfig& config);

}  // namespace writ::runner
