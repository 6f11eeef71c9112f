// Leftovers: what is left of the jobs of earlier processes is ended at the start (L38), and what
// cannot be ended keeps its slot (L37).
//
// The journal remembers of which runs something is left, also when they are closed; each start
// looks again. Before the first claim, in the starting thread.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "session/session.h"

namespace writ::runner {

// Slots that are not given out, by number.
using SlotsOut = std::set<unsigned>;

struct LastFacts {
  std::vector<std::string> leaks;
  std::string job;  // what its supervisor wrote down; empty: nothing
};

// What is left of a run's job is ended. Where something stays it is logged, told on the bus and
// noted by whoever holds the run's journal; its slots are added to `out`.
LastFacts EndJob(SessionServices& services, const JobPlace& place, SlotsOut& out);

// The same for runs of which something had been left before: those of which nothing is any more
// are forgotten.
void LookAgain(SessionServices& services, SlotsOut& out);

}  // namespace writ::runner
