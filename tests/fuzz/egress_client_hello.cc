// The ClientHello reader. Held: the answer does not depend on how the bytes arrive.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/egress/client_hello.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using writ::egress::ClientHelloReader;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ClientHelloReader whole;
  auto state = whole.Read(bytes);
  ClientHelloReader pieces;
  auto growing = ClientHelloReader::State::kNeedMore;
  std::size_t step = size / 64 + 1;
  for (std::size_t n = 0; growing == ClientHelloReader::State::kNeedMore && n < size; n += step)
    growing = pieces.Read(bytes.substr(0, n));
  if (growing == ClientHelloReader::State::kNeedMore) growing = pieces.Read(bytes);
  if (growing != state) std::abort();
  if (state == ClientHelloReader::State::kComplete && whole.hello().sni != pieces.hello().sni)
    std::abort();
  return 0;
}
