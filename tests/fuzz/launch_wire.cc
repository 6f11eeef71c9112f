// Plans and messages between a backend and writ-launch: whatever is read is written back byte for
// byte.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/backends/launch/entry_request.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/launch/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace launch = writ::backends::launch;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto message = launch::DecodeMessage(bytes);
      message && launch::EncodeMessage(*message) != bytes)
    std::abort();
  if (auto plan = launch::DecodeLaunchPlan(bytes)) {
    // An absent option is written with a zero behind it; anything else must not come back changed.
    const std::string again = launch::EncodeLaunchPlan(*plan);
    auto twice = launch::DecodeLaunchPlan(again);
    if (!twice || launch::EncodeLaunchPlan(*twice) != again) std::abort();
  }
  if (auto entry = launch::DecodeEntryRequest(bytes)) {
    const std::string again = launch::EncodeEntryRequest(*entry);
    auto twice = launch::DecodeEntryRequest(again);
    if (!twice || launch::EncodeEntryRequest(*twice) != again) std::abort();
  }
  return 0;
}
