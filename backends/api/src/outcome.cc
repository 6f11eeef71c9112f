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

std::string_view CountedByName(Usage::CountedBy by) {
  switch (by) {
    case Usage::CountedBy::kRusage:
      return "rusage";
    case Usage::CountedBy::kCgroupV1:
      return "cgroup-v1";
    case Usage::CountedBy::kCgroupV2:
      return "cgroup-v2";
  }
  std::abort();
}

}  // namespace writ::backends
