// SOCKS5 messages. Held: what is taken is taken the same with more behind it, no shorter prefix of
// it was, and nothing is read past its end.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/egress/socks.h"

namespace {

using namespace writ::egress;

void Check(bool held) {
  if (!held) std::abort();
}

template <typename T>
void Read(SocksRead<T> (*read)(std::string_view), std::string_view bytes) {
  const auto whole = read(bytes);
  const auto* message = std::get_if<SocksMessage<T>>(&whole);
  if (message == nullptr) {
    // What asks for more, or is refused, was not taken earlier either.
    const auto half = read(bytes.substr(0, bytes.size() / 2));
    Check(!std::holds_alternative<SocksMessage<T>>(half));
    if (std::holds_alternative<SocksNeedMore>(whole))
      Check(std::holds_alternative<SocksNeedMore>(half));
    return;
  }
  Check(message->bytes > 0 && message->bytes <= bytes.size());
  const auto exact = read(bytes.substr(0, message->bytes));
  Check(std::holds_alternative<SocksMessage<T>>(exact));
  const auto shorter = read(bytes.substr(0, message->bytes - 1));
  Check(std::holds_alternative<SocksNeedMore>(shorter));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Of a heap copy, so that a read past the end is one past an allocation.
  const std::string copy(reinterpret_cast<const char*>(data), size);
  Read(&ReadSocksGreeting, copy);
  Read(&ReadSocksCredentials, copy);
  Read(&ReadSocksRequest, copy);
  return 0;
}
