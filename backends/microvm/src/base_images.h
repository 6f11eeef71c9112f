// BaseImages: the base of a workspace as one image, made once and shared by the machines of all
// runs on that base.
//
// An image lies in WorkspaceMount::kept, `base-SHA256.erofs`: it goes with the checkout that it was
// made of. workspace/ in it is the lower tree, 0/, 1/, ... are the kept trees. It is the runner's
// own (0444, in a folder that nobody else lists or writes), whole and on the disk before it has its
// name, and read once more whenever it may be another file than the one that was compared with its
// name: after a start of the runner, or when its length, times or inode changed. One that is not
// what its name says is removed and made again. Machines get it as a drive that their monitor
// cannot write. Thread-safe; several processes may share a folder.
#pragma once

#include <sys/stat.h>

#include <map>
#include <mutex>
#include <string>

#include "writ/backends/microvm/tree_image.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"

namespace writ::backends {

struct BaseImage {
  std::string path;
  bool made = false;              // now, not before
  microvm::ImageCounts counts{};  // of what was packed for it now
};

class BaseImages {
 public:
  // Waits while another one makes it. Whoever asks holds the checkout while it uses the image.
  Result<BaseImage> Get(const WorkspaceMount& mount);

 private:
  bool IsKnown(const std::string& path, const struct stat& st);
  void Remember(const std::string& path, const struct stat& st);

  std::mutex mutex_;  // guards what is below
  std::map<std::string, struct stat> compared_;
};

}  // namespace writ::backends
