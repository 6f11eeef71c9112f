// TreeContents: what a tree stream (tree_stream.h) holds, told as it goes by, with nothing made of
// it: for who keeps a checkpoint and has to know that it is whole and what is in it. The stream may
// be anybody's: what is no tree stream, or passes the limits, is refused.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/tree_stream.h"

namespace writ::backends::microvm {

class TreeContents {
 public:
  struct Events {
    // What follows has nothing to do with what was before: another file, or behind a hole.
    std::function<void()> begin;
    // Bytes of a file, a name, or where a link leads to.
    std::function<void(std::string_view)> bytes;
  };
  TreeContents(TreeLimits limits, Events events);
  // As TreeReader::Add, with its errors.
  Status Add(std::string_view bytes);
  bool complete() const { return complete_ && frames_.AtBoundary(); }
  std::uint64_t entries() const { return entries_; }
  std::uint64_t bytes() const { return bytes_; }  // of files, holes left out

 private:
  Status OnRecord(std::string_view record);

  const TreeLimits limits_;
  const Events events_;
  FrameReader frames_;
  std::uint64_t next_ = 0;  // where bytes would go on
  std::uint64_t depth_ = 0;
  bool in_file_ = false;
  std::uint64_t bytes_ = 0;
  std::uint64_t entries_ = 0;
  bool complete_ = false;
};

}  // namespace writ::backends::microvm
