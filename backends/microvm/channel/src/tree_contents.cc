#include "writ/backends/microvm/tree_contents.h"

#include <string>
#include <utility>

#include "tree_record.h"
#include "writ/backends/launch/wire.h"

namespace writ::backends::microvm {
namespace {

Error Foreign() {
  return Error{ErrorKind::kInvalid, "microvm.tree", "this is no stream of a tree"};
}

bool IsNamed(TreeTag tag) {
  return tag != TreeTag::kLeave && tag != TreeTag::kExtent && tag != TreeTag::kFileEnd &&
         tag != TreeTag::kComplete;
}

}  // namespace

TreeContents::TreeContents(TreeLimits limits, Events events)
    : limits_(limits), events_(std::move(events)), frames_(TreeReader::kMaxRecordBytes) {}

Status TreeContents::Add(std::string_view bytes) {
  return frames_.Add(bytes, [this](std::string_view record) { return OnRecord(record); });
}

Status TreeContents::OnRecord(std::string_view record) {
  if (complete_) return Foreign();
  launch::Reader in(record);
  const auto tag = static_cast<TreeTag>(in.NumberAtMost(kLastTreeTag));
  if (!in.ok() || (in_file_ != (tag == TreeTag::kExtent || tag == TreeTag::kFileEnd)))
    return Foreign();
  auto tell = [this](std::string_view text) {
    events_.begin();
    events_.bytes(text);
  };
  if (IsNamed(tag)) {
    tell(in.Text());
    if (++entries_ > limits_.entries && limits_.entries != 0)
      return Error{ErrorKind::kInvalid, "microvm.tree_too_large",
                   "over " + std::to_string(limits_.entries) + " entries"};
  }
  std::size_t numbers = 0;
  switch (tag) {
    case TreeTag::kEnter:
      ++depth_;
      numbers = 2;
      break;
    case TreeTag::kLeave:
      if (depth_-- == 0) return Foreign();
      break;
    case TreeTag::kFile:
      events_.begin();
      in_file_ = true;
      next_ = 0;
      numbers = 3;
      break;
    case TreeTag::kExtent: {
      const std::uint64_t offset = in.Number();
      const std::string bytes = in.Text();
      if (offset != next_) events_.begin();
      next_ = offset + bytes.size();
      bytes_ += bytes.size();
      if (limits_.bytes != 0 && bytes_ > limits_.bytes)
        return Error{ErrorKind::kInvalid, "microvm.tree_too_large",
                     "over " + std::to_string(limits_.bytes) + " bytes"};
      events_.bytes(bytes);
      break;
    }
    case TreeTag::kFileEnd:
      in_file_ = false;
      break;
    case TreeTag::kSymlink:
      tell(in.Text());
      break;
    case TreeTag::kFifo:
    case TreeTag::kSocket:
    case TreeTag::kLink:
      numbers = 1;
      break;
    case TreeTag::kRemoved:
      break;
    case TreeTag::kComplete:
      complete_ = in.Number() == entries_ && depth_ == 0;
      if (!complete_) return Foreign();
      break;
  }
  for (; numbers > 0; --numbers) (void)in.Number();
  return in.AtEnd() ? Status() : Foreign();
}

}  // namespace writ::backends::microvm
