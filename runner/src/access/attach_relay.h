// AttachRelay: shows a caller the job's output from an offset on, as it comes, and passes its keys
// to the job's terminal where that was granted.
#pragma once

#include <cstdint>
#include <string>

#include "session/live_spool.h"
#include "writ/backends/entry.h"
#include "writ/base/result.h"
#include "writ/runner/access.h"

namespace writ::runner {

struct AttachEnd {
  std::uint64_t offset = 0;  // where to go on
  bool session_over = false;
  std::uint64_t bytes_in = 0, bytes_out = 0;
};

// All borrowed. `input`: null where keys go nowhere. `hurry_fd`: readable once the session is over,
// which is when all its output stands in the spool.
AttachEnd RelayAttached(LiveSpool& spool, std::uint64_t from, backends::TerminalInput* input,
                        AccessChannel& channel, int hurry_fd);

}  // namespace writ::runner
