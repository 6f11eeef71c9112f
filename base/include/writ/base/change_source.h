// TreeEntry and ChangeSource: how a change set is told.
//
// A job's output is found in different ways - by index stat data in a plain tree, by walking the
// upper layer of an overlay, by a stream from a guest - and always read in this one shape, so that
// the diff is made by one piece of code.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

struct TreeEntry {
  enum class Kind {
    kRegular,  // mode says whether it is executable
    kSymlink,
    kDirectory,  // only where a directory as such matters (opaque, empty, nested repository)
    kRemoved,    // was in the base, is not any more
    kOther,      // FIFO, socket, device: reported as a finding, never carried
  };
  std::string path;  // relative to the tree, raw bytes, '/' between components
  Kind kind = Kind::kRegular;
  std::uint32_t mode = 0;  // permission bits
  std::uint64_t bytes = 0;
};

// Not thread-safe. Entries come in no promised order; a path comes at most once.
class ChangeSource {
 public:
  virtual ~ChangeSource() = default;
  // Calls `visit` for every path that may differ from the input; stops at the first error.
  virtual Status ForEach(const std::function<Status(const TreeEntry&)>& visit) = 0;
  // A regular file's content, opened without following links.
  virtual Result<UniqueFd> Open(const std::string& path) = 0;
  virtual Result<std::string> ReadLink(const std::string& path) = 0;
};

}  // namespace writ
