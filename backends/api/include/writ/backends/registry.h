// BackendRegistry: the backends of this process, filled in one place (cli), resolved once per run
// (L7). Not thread-safe while it is filled; reading is.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "writ/backends/backend.h"
#include "writ/base/result.h"

namespace writ::backends {

class BackendRegistry {
 public:
  // kConflict ("backends.duplicate_name") where the name is taken.
  Status Add(std::unique_ptr<Backend> backend);
  // kUnsupported ("backends.unknown_name") with the known names in the hint.
  Result<Backend*> Find(std::string_view name) const;
  // The backends of a tier in the order in which they were added.
  std::vector<Backend*> OfTier(Tier tier) const;
  // The first usable backend of the tier; kUnsupported ("backends.no_backend_for_tier") with each
  // one's reason, and what mends it as the hint. Probes.
  Result<Backend*> Resolve(Tier tier) const;
  std::vector<Backend*> All() const;

 private:
  std::vector<std::unique_ptr<Backend>> backends_;
};

}  // namespace writ::backends
