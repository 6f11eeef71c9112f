// Any bytes as a bundle: the reader over the text and the reader over the tree give the same
// report, or the same refusal; what is rendered is well-formed and free of control characters.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/protocol/bundle.h"
#include "writ/protocol/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const protocol::VerifyReport fast = protocol::VerifyBundle(text);
  const Result<json::Value> value = json::Parse(text);
  if (!value) {
    if (fast.ok || fast.problems.size() != 1 || fast.problems[0].code != value.error().code ||
        fast.problems[0].message != value.error().message)
      std::abort();
  } else if (!(protocol::RenderJson(fast) ==
               protocol::RenderJson(protocol::VerifyBundleValue(*value)))) {
    std::abort();
  }
  for (const char c : protocol::RenderText(fast, text)) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n') std::abort();
  }
  return 0;
}
