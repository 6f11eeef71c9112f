// A tree stream as the other side of a copy may send it: read in two splits, the same comes out.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/base/tree_stream.h"

namespace {

struct Seen final : writ::TreeVisitor {
  writ::Status OnDirectory(const std::string& path, mode_t mode) override {
    text += "D" + path + std::to_string(mode);
    if (!writ::IsTreePath(path)) std::abort();
    return {};
  }
  writ::Status OnFile(const std::string& path, mode_t mode) override {
    text += "F" + path + std::to_string(mode);
    if (!writ::IsTreePath(path) || (mode & ~0777u) != 0) std::abort();
    return {};
  }
  writ::Status OnBytes(std::string_view bytes) override {
    text.append(bytes);
    return {};
  }
  writ::Status OnFileEnd() override {
    text += "E";
    return {};
  }
  std::string text;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  writ::TreeLimits limits;
  limits.max_bytes = 1 << 16;
  Seen whole, single;
  writ::TreeReader one(limits, &whole), many(limits, &single);
  const bool good = one.Write(bytes).has_value();
  bool also_good = true;
  for (std::size_t i = 0; i < size && also_good; ++i)
    also_good = many.Write(bytes.substr(i, 1)).has_value();
  if (good != also_good || whole.text != single.text) std::abort();
  return 0;
}
