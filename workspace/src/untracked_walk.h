// Looks for untracked files in a requester's checkout: those that the allow-list names, and those
// that a denied pattern keeps out.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "checkout_scan.h"

namespace writ::workspace {

struct UntrackedWalk {
  int root = -1;
  const std::string& git_dir;  // for info/exclude
  const std::vector<std::string>& allow;
  const std::vector<std::string>& denied;
  const std::unordered_set<std::string>& tracked;
  const std::unordered_set<std::string>& submodules;
};

// Fills in `untracked`, `denied_paths` and findings of `state`.
Status WalkUntrackedFiles(const UntrackedWalk& walk, CheckoutState& state);

}  // namespace writ::workspace
