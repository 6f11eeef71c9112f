// CopyInPlace: a copy of files made by a process of the session itself, with the job's identity and
// behind all its guards: it reads and writes what the job could, and nothing else. Needs no program
// of the job's root.
#pragma once

#include "writ/backends/launch/entry_request.h"

namespace writ::backends::launch {

// Between descriptors 0 and 1. The exit code: 0 copied, 1 not; the stream on 1 says why.
int CopyInPlace(const EntryRequest& request);

}  // namespace writ::backends::launch
