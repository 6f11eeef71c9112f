#include "writ/backends/microvm/frames.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kHead = 4;

std::size_t SizeOf(std::string_view head) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < kHead; ++i)
    size |= static_cast<std::size_t>(static_cast<unsigned char>(head[i])) << (8 * i);
  return size;
}

}  // namespace

std::string Frame(std::string_view message) {
  std::string out;
  out.reserve(message.size() + kHead);
  for (std::size_t i = 0; i < kHead; ++i)
    out.push_back(static_cast<char>((message.size() >> (8 * i)) & 0xff));
  out.append(message);
  return out;
}

Status FrameReader::Add(std::string_view bytes,
                        const std::function<Status(std::string_view)>& each) {
  while (!bytes.empty() || held_.size() >= kHead) {
    while (held_.size() < kHead && !bytes.empty()) {
      held_.push_back(bytes.front());
      bytes.remove_prefix(1);
    }
    if (held_.size() < kHead) return {};
    const std::size_t size = SizeOf(held_);
    if (size > limit_)
      return Error{ErrorKind::kInvalid, "microvm.frame", "a message is longer than it may be"};
    const std::size_t missing = kHead + size - held_.size();
    const std::string_view part = bytes.substr(0, missing);
    held_.append(part);
    bytes.remove_prefix(part.size());
    if (part.size() < missing) return {};
    std::string whole;
    whole.swap(held_);
    WRIT_TRY(each(std::string_view(whole).substr(kHead)));
  }
  return {};
}

}  // namespace writ::backends::microvm
