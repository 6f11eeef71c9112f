// Any JSON as contract, receipt, event, execution, manifest, policy or key manifest: it parses to a
// value that is built again to what parses, or it is refused with a code.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/protocol/key_manifest.h"
#include "writ/protocol/policy.h"
#include "writ/protocol/receipt.h"

namespace {

template <typename T>
void Check(const writ::Result<T>& parsed) {
  if (!parsed && (parsed.error().code.empty() || parsed.error().message.empty())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ;
  using namespace writ::protocol;
  const Result<json::Value> value = json::Parse({reinterpret_cast<const char*>(data), size});
  if (!value) return 0;
  Result<Contract> contract = Contract::Parse(*value);
  Check(contract);
  if (contract) {
    json::Value built = contract->BuildUnsigned();
    built.object().Set("signatures", SignaturesToJson(contract->signatures));
    const Result<Contract> again = Contract::Parse(built);
    if (!again || !(again->BuildUnsigned() == contract->BuildUnsigned())) std::abort();
    const Result<PreparedExecution> prepared =
        Prepare(contract->EffectiveExecution(), contract->budget.max_duration_min);
    Check(prepared);
    if (prepared && prepared->timeout.count() <= 0) std::abort();
  }
  const Result<Receipt> receipt = Receipt::Parse(*value);
  Check(receipt);
  if (receipt) {
    json::Value built = receipt->BuildUnsigned();
    built.object().Set("signatures", SignaturesToJson(receipt->signatures));
    if (!Receipt::Parse(built)) std::abort();
  }
  const Result<Event> event = Event::Parse(*value);
  Check(event);
  if (event && !(event->ToJson() == *value)) std::abort();
  const Result<KeyManifest> keys = KeyManifest::Parse(*value);
  Check(keys);
  if (keys) {
    json::Value built = keys->BuildUnsigned();
    built.object().Set("signatures", SignaturesToJson(keys->signatures));
    const Result<KeyManifest> again = KeyManifest::Parse(built);
    if (!again || !(again->BuildUnsigned() == keys->BuildUnsigned())) std::abort();
    for (const PlaneKeyEntry& entry : keys->plane_keys)
      if (!keys->Holds(entry.key, entry.not_before) && entry.not_after != entry.not_before)
        std::abort();
  }
  Check(Execution::Parse(*value));
  Check(Manifest::Parse(*value));
  Check(Policy::Parse(*value));
  return 0;
}
