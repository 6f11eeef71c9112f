#include "writ/backends/outcome.h"

#include <cstdlib>

namespace writ::backends {

std::string_view OutcomeKindName(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::Kind::kExited:
      return "exited";
    case Outcome::Kind::kSignalled:
      return "signalled";
    case Outcome::Kind::kTimedOut:
      return "timed_out";
    case Outcome::Kind::kCancelled:
      return "cancelled";
    case Outcome::Kind::kDenied:
      return "denied";
    case Outcome::Kind::kViolated:
      return "violated";
    case Outcome::Kind::kSetupFailed:
      return "setup_failed";
    case Outcome::Kind::kOutputLimit:
      return "output_limit";
    case Outcome::Kind::kLost:
      return "lost";
  }
  std::abort();
}

}  // namespace writ::backends
