// The job's environment, built from nothing (L20): the base of the tier, then the plan's, then what
// came late; later entries replace earlier ones of the same name.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/plan.h"

namespace writ::backends {

// TERM of a process without a terminal, and of one that has one and says nothing else.
inline constexpr char kNoTerminal[] = "dumb";
inline constexpr char kSomeTerminal[] = "xterm-256color";

// Every process of a job inherits it; by it the next start finds what is left of a run whose
// supervisor was killed (left_tree.h). Nothing that comes later replaces it.
inline constexpr char kJobMark[] = "WRIT_JOB_MARK";

struct BaseEnvironment {
  std::string home;
  std::string tmp;
  std::string user;
  std::string run_id;
  std::string term = kNoTerminal;
};

// "NAME=value" entries, sorted by name. Holds secret values: wipe with WipeEnvironment.
std::vector<std::string> BuildEnvironment(const BaseEnvironment& base, const Environment& plan,
                                          const Environment& late);
void WipeEnvironment(std::vector<std::string>& entries);

}  // namespace writ::backends
