// The messages over the control socket and the configuration document. Held: what was read is
// written as it was read.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/egress/control_message.h"
#include "writ/egress/proxy_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::egress;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto message = DecodeProxyMessage(bytes)) {
    std::string written = Encode(*message);
    auto again = DecodeProxyMessage(written);
    if (!again || Encode(*again) != written) std::abort();
  }
  if (auto message = DecodeRunnerMessage(bytes)) {
    if (!DecodeRunnerMessage(Encode(*message))) std::abort();
  }
  if (auto config = ParseConfig(bytes)) {
    std::string written = SerializeConfig(*config);
    auto again = ParseConfig(written);
    if (!again || SerializeConfig(*again) != written) std::abort();
  }
  return 0;
}
