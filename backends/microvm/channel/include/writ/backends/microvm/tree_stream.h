// Tree stream: the changes of a workspace on their way out of a guest.
//
// The writer walks the upper layer of an overlay (trusted.overlay.*, no redirects, no metacopy);
// the reader carries the changes out in a directory of the host, beneath a handle. The writer may
// be anybody's: the reader follows no link, leaves the tree by no name, makes no device, and writes
// no more than its limits. What it had done when it refused stays.
// Records: a directory is entered and left, so no path is ever longer than one name. A file with
// more names stays open in the reader under a number until all were told or the writer gives the
// number to another: at most kMaxLinked at once; those above come out as files of their own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/frames.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

// Writes the changes in `upper` (a directory) to `out`, a descriptor that may block.
Status WriteTree(int upper, int out);

struct TreeLimits {
  std::uint64_t bytes = 0;    // of file content, holes left out; 0: none
  std::uint64_t entries = 0;  // 0: none
};

class TreeReader {
 public:
  // `root`: the directory that is changed.
  TreeReader(UniqueFd root, TreeLimits limits)
      : limits_(limits), frames_(kMaxRecordBytes), current_(std::move(root)) {}
  // Bytes as they come, in pieces of any size. kInvalid "microvm.tree" where they are no tree
  // stream, "microvm.tree_too_large" past a limit.
  Status Add(std::string_view bytes);
  // The writer said that this is all, and nothing followed.
  bool complete() const { return complete_ && frames_.AtBoundary(); }
  std::uint64_t entries() const { return entries_; }

  static constexpr std::size_t kMaxRecordBytes = 80 * 1024;
  static constexpr std::size_t kMaxDepth = 10'000;
  static constexpr std::size_t kMaxLinked = 128;

 private:
  Status OnRecord(std::string_view record);
  Status Enter(const std::string& name, mode_t mode, bool opaque);
  Status Leave();
  Status StartFile(const std::string& name, mode_t mode, std::uint64_t size, std::size_t number);
  Status Link(const std::string& name, std::size_t number);
  Status OnExtent(std::uint64_t offset, std::string_view bytes);
  Status EndFile();
  Status Remove(const std::string& name);

  const TreeLimits limits_;
  FrameReader frames_;
  UniqueFd current_;             // the directory that names are in
  std::vector<mode_t> entered_;  // how deep, and what each one's mode becomes
  UniqueFd file_;                // being written
  std::vector<UniqueFd> linked_ = std::vector<UniqueFd>(kMaxLinked);  // by their numbers from 1 on
  std::size_t file_number_ = 0;
  mode_t file_mode_ = 0;
  std::uint64_t file_size_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t entries_ = 0;
  bool complete_ = false;
};

}  // namespace writ::backends::microvm
