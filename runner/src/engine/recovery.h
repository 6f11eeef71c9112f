// Recovery: runs that an earlier process left open are brought to their end (L38): what is left of
// the job is ended, and the receipt - the one signed already, or one that says what happened - is
// delivered or parked.
#pragma once

#include "session/session.h"

namespace writ::runner {

// One attempt for each; failures are logged, none is fatal. Called before the first claim.
void FinishOpenRuns(SessionServices& services);

}  // namespace writ::runner
