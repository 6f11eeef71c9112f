// The body of a run request (plane/src/run_request.h): no crash, every refusal has a place, and
// what is accepted can be judged by the policy.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "policy_engine.h"
#include "run_request.h"
#include "writ/plane/init.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ;
  static const protocol::Policy policy =
      protocol::Policy::Parse(json::Parse(plane::DefaultPolicy()).value()).value();
  auto parsed =
      plane::ParseRunRequest(std::string_view(reinterpret_cast<const char*>(data), size), 1 << 20);
  if (!parsed) return 0;
  for (const auto& issue : parsed->issues) {
    if (issue.text.empty()) std::abort();
  }
  if (!parsed->issues.empty()) return 0;
  auto decision = plane::Evaluate(policy, parsed->request, plane::OpenNetwork::kRefused);
  if (decision.reason.empty()) std::abort();
  if (parsed->request.Timeout().count() <= 0) std::abort();
  return 0;
}
