// The strict request head of the plane (plane/src/http/request_head.h): no crash, and what is
// accepted is read the same way when its canonical form is read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/request_head.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using writ::plane::http::ParseRequestHead;
  auto head = ParseRequestHead(std::string_view(reinterpret_cast<const char*>(data), size), {});
  if (!head) return 0;
  auto again = ParseRequestHead(head->Canonical(), {});
  if (!again) std::abort();
  if (again->chunked != head->chunked || again->close != head->close) std::abort();
  if (!head->chunked && again->content_length.value_or(0) != head->content_length.value_or(0))
    std::abort();
  for (char c : head->path) {
    if (c <= 0x20 || c >= 0x7f) std::abort();
  }
  return 0;
}
