#include "git_delta.h"

namespace writ::workspace {
namespace {

Error Damaged(std::string_view why) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "delta.damaged",
               .message = "a binary delta " + std::string(why)};
}

bool ReadSize(std::string_view& delta, std::uint64_t& size) {
  size = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    if (delta.empty()) return false;
    auto c = static_cast<unsigned char>(delta.front());
    delta.remove_prefix(1);
    size |= std::uint64_t{c & 0x7fu} << shift;
    if ((c & 0x80) == 0) return true;
  }
  return false;
}

}  // namespace

Result<std::string> ApplyGitDelta(std::string_view base, std::string_view delta,
                                  std::uint64_t limit) {
  std::uint64_t base_size = 0;
  std::uint64_t size = 0;
  if (!ReadSize(delta, base_size) || !ReadSize(delta, size)) return Damaged("ends in its header");
  if (base_size != base.size()) return Damaged("is for content of another size");
  if (size > limit) return Damaged("makes more than the limit");
  std::string out;
  while (!delta.empty()) {
    auto op = static_cast<unsigned char>(delta.front());
    delta.remove_prefix(1);
    if (op == 0) return Damaged("holds the reserved instruction");
    if ((op & 0x80) == 0) {
      if (delta.size() < op) return Damaged("ends in an insertion");
      out.append(delta.substr(0, op));
      delta.remove_prefix(op);
    } else {
      std::uint64_t offset = 0;
      std::uint64_t count = 0;
      for (unsigned bit = 0; bit < 7; ++bit) {
        if ((op & 1u << bit) == 0) continue;
        if (delta.empty()) return Damaged("ends in a copy");
        std::uint64_t c = static_cast<unsigned char>(delta.front());
        delta.remove_prefix(1);
        if (bit < 4) {
          offset |= c << (8 * bit);
        } else {
          count |= c << (8 * (bit - 4));
        }
      }
      if (count == 0) count = 0x10000;
      if (offset > base.size() || count > base.size() - offset)
        return Damaged("copies from outside of its base");
      if (out.size() + count > size) return Damaged("makes more than it says");
      out.append(base.substr(offset, count));
    }
    if (out.size() > size) return Damaged("makes more than it says");
  }
  if (out.size() != size) return Damaged("makes less than it says");
  return out;
}

}  // namespace writ::workspace
