// RunFailure: why a claimed run could not be done, in the protocol's failure class, once, with a
// sentence and a hint (L43).
//
// It ends in the receipt (`run.failed`), the log and the observer. The sentence holds no secret,
// header, body or URL.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/protocol/words.h"

namespace writ::runner {

struct RunFailure {
  protocol::FailureClass failure = protocol::FailureClass::kSessionFailed;
  std::string code;
  std::string message;
  std::string hint;
};

// An Error of a step, given the class that the step's failures have unless the error says
// otherwise.
RunFailure FailureFrom(const Error& error, protocol::FailureClass failure);

}  // namespace writ::runner
