// What follows a submission: it was refused, or there is a run - watched to its end, and run by a
// runner in this process where its plane is this machine's.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "access.h"
#include "context.h"
#include "requester.h"
#include "writ/plane/types.h"

namespace writ::cli {

// Denied and invalid requests, with all of their reasons.
void ReportRefusal(Context& context, const Access& access, const plane::Submission& submission);

struct FollowedRun {
  Access& access;  // opened
  Requester& requester;
  std::string pool;
  std::vector<std::string> allow_access;  // members of grants.session, of a runner in this process
  std::string repository = ".";           // where `writ pull` should go
  std::chrono::milliseconds reconnect{};
  bool watch = true;  // false: submitted and left
};
// Of an accepted submission. Sets the exit code and prints.
void FollowRun(Context& context, const plane::Submission& accepted, const FollowedRun& run);

}  // namespace writ::cli
