// Frames: whole messages within a stream's bytes, each with its length in 4 bytes before it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::backends::microvm {

std::string Frame(std::string_view message);

// Holds at most one unfinished message of `limit` bytes.
class FrameReader {
 public:
  explicit FrameReader(std::size_t limit) : limit_(limit) {}
  // Calls `each` for every message that is whole now; stops at its first error. kInvalid
  // "microvm.frame" for a message over the limit.
  Status Add(std::string_view bytes, const std::function<Status(std::string_view)>& each);
  bool AtBoundary() const { return held_.empty(); }

 private:
  const std::size_t limit_;
  std::string held_;
};

}  // namespace writ::backends::microvm
