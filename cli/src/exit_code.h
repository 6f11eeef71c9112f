// The exit codes of `writ`, the same for every command (docs/operations.md).
#pragma once

#include "writ/base/result.h"

namespace writ::cli {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,        // the run, the verification or the command itself (a full disk) failed
  kUsage = 2,         // wrong usage or unreadable input
  kPolicyDenied = 3,  // denied by policy, or the plane does not take the token or its role
  kRunCancelled = 4,
  kWaitingApproval = 5,
  kPlaneUnreachable = 6,
};

ExitCode ExitCodeFor(const Error& error);

}  // namespace writ::cli
