// Matching: what a run wants of a runner, and what of it a runner lacks. Pure.
//
// The same answer decides what is offered to whom and says in words why a run waits. It may only
// hold back what the runner would refuse anyway: a runner that says nothing of itself is offered
// everything, and each runner checks for itself in the end (L4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "writ/protocol/contract.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::plane {

// Small and equal for like runs, so that a queue of a thousand is judged once.
struct RunWants {
  std::optional<std::string> isolation;  // the contract's word
  std::string agent;                     // kind whose program is needed; empty: none
  protocol::ExecutionLimits limits;
  std::uint64_t timeout_ms = 0;
  std::uint64_t log_bytes = 0;  // 0: the runner's default

  static RunWants Of(const protocol::Contract& contract);
  // As it is stored with the run; kInvalid for any other text.
  std::string ToText() const;
  static Result<RunWants> FromText(std::string_view text);
};

struct Unmet {
  std::string want;  // "container", "agent codex"
  std::string why;   // what the runner says of it; one sentence without its full stop
  std::string mend;  // may be empty
};
// The first thing that is lacking; nullopt: it can be offered.
std::optional<Unmet> WhyNot(const RunWants& wants, const protocol::RunnerCapabilities& runner);

}  // namespace writ::plane
