// <state_dir>/status.sock, whatever the length of its path.
#pragma once

#include "writ/base/status/status_server.h"

namespace writ::runner {

// `dir` is locked by us.
Result<status::StatusListener> ListenInStateDir(int dir);

}  // namespace writ::runner
