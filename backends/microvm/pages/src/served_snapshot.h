// ServedSnapshot: the memory of one snapshot and its working set, shared by all clones.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fault_server.h"
#include "writ/backends/microvm/pages/verified_memory.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/backends/microvm/pages/working_set.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

class ServedSnapshot {
 public:
  // `fds` as OpenSnapshot has them (words.h).
  static Result<std::shared_ptr<ServedSnapshot>> Open(const OpenSnapshot& open,
                                                      std::vector<UniqueFd> fds);

  VerifiedMemory& memory() { return *memory_; }
  RestorePlan Plan() const;  // thread-safe
  // Stored durably where it changed something; not in a thread that answers faults.
  void Observed(const Observation& observation);

 private:
  ServedSnapshot(UniqueFd directory, protocol::Digest root, std::unique_ptr<VerifiedMemory> memory);
  void Load();

  const UniqueFd directory_;
  const protocol::Digest root_;
  const std::unique_ptr<VerifiedMemory> memory_;
  mutable std::mutex mutex_;  // guards set_
  WorkingSet set_;
};

}  // namespace writ::backends::microvm::pages
