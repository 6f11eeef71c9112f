#include "writ/backends/head_tail.h"

#include <algorithm>

namespace writ::backends {

void HeadTail::Add(std::string_view bytes, std::chrono::nanoseconds when) {
  counters_.seen += bytes.size();
  auto head = static_cast<std::size_t>(std::min<std::uint64_t>(head_left_, bytes.size()));
  if (head > 0) {
    sink_.OnOutput(stream_, bytes.substr(0, head), when);
    counters_.kept += head;
    head_left_ -= head;
    bytes.remove_prefix(head);
  }
  if (bytes.empty()) return;
  if (bytes.size() > tail_bytes_) {
    bytes.remove_prefix(bytes.size() - static_cast<std::size_t>(tail_bytes_));
    tail_.clear();
  }
  tail_.append(bytes);
  // Cut only when twice the wanted length is there: each byte is moved at most once on average.
  if (tail_.size() > 2 * tail_bytes_)
    tail_.erase(0, tail_.size() - static_cast<std::size_t>(tail_bytes_));
}

void HeadTail::Finish(std::chrono::nanoseconds when) {
  if (tail_.size() > tail_bytes_)
    tail_.erase(0, tail_.size() - static_cast<std::size_t>(tail_bytes_));
  counters_.left_out = counters_.seen - counters_.kept - tail_.size();
  if (counters_.left_out > 0) sink_.OnLeftOut(stream_, counters_.left_out);
  if (!tail_.empty()) sink_.OnOutput(stream_, tail_, when);
  counters_.kept += tail_.size();
  tail_.clear();
}

}  // namespace writ::backends
