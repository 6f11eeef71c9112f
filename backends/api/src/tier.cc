#include "writ/backends/tier.h"

#include <cstdlib>

namespace writ::backends {

std::string_view TierName(Tier tier) {
  switch (tier) {
    case Tier::kProcess:
      return "process";
    case Tier::kSandbox:
      return "sandbox";
    case Tier::kContainer:
      return "container";
    case Tier::kMicrovm:
      return "microvm";
  }
  std::abort();
}

std::optional<Tier> ParseTier(std::string_view word) {
  for (Tier tier : {Tier::kProcess, Tier::kSandbox, Tier::kContainer, Tier::kMicrovm}) {
    if (TierName(tier) == word) return tier;
  }
  return std::nullopt;
}

}  // namespace writ::backends
