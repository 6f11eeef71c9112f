// Recovery: runs that an earlier process left open are brought to their end (L38).
//
// At the start, without the plane: what is left of the job is ended (never adopted), and a run that
// cannot go on is closed with a signed receipt that says what is known. What then needs the plane -
// an offer's fate, collected output, the receipt - is done by FinishWaitingRun, as often as needed.
#pragma once

#include <stop_token>

#include "engine/leftovers.h"
#include "session/session.h"

namespace writ::runner {

// Every open run waits for the plane afterwards, or is logged and left for the next start. Called
// before the first claim. The slots in which something of an earlier run is left.
SlotsOut CloseOpenRuns(SessionServices& services);

enum class FinishFate {
  kDone,        // the plane has the receipt, or the journal keeps the bundle, or it was not ours
  kLater,       // the plane answered, and is not itself with this one
  kUnanswered,  // it did not answer, or asks everybody to come later: those behind wait, in order
};
FinishFate FinishWaitingRun(SessionServices& services, PlaneClient& plane,
                            const protocol::RunId& run, std::stop_token stop);

}  // namespace writ::runner
