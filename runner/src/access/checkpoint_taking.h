// TakeCheckpoint: receives a checkpoint of a running job's workspace into a file of the runner's,
// and looks at it on the way: that it is whole, within its limits, and holds no released secret.
// Nothing is made of it here; the next run's machine does that.
#pragma once

#include <cstdint>

#include "writ/backends/entry.h"
#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/runner/redactor.h"

namespace writ::runner {

struct CheckpointOrder {
  backends::Entry& entry;  // of kind kCheckpoint
  const Redactor& redactor;
  std::uint64_t max_bytes = 0;  // of the stream
  int file = -1;                // empty; takes the stream
  int hurry_fd = -1;            // readable once the session is over
};
struct Checkpoint {
  protocol::Digest digest;  // of the stream: its id
  std::uint64_t bytes = 0;  // of the stream
  std::uint64_t entries = 0;
};
// kUnavailable "checkpoint.not_held", "checkpoint.cut", kDenied "checkpoint.secret", kInvalid
// "checkpoint.too_large". The job goes on in each case.
Result<Checkpoint> TakeCheckpoint(const CheckpointOrder& order);

}  // namespace writ::runner
