// UidReservation: the host uids of one root runner, held against every other runner on this
// machine.
//
// A job is known by its uid: what is left of a run that died is found by it and killed. Two runners
// with one uid would end each other's jobs, so a runner takes its uids before it looks at what it
// left, and holds them until it ends. One file, beneath a handle, of root alone; byte N of it
// stands for uid N and is locked (an open-file-description lock: the kernel drops it with the
// process, and nothing is left to clean up). Machine-wide means: for all who see the same
// directory. A container with a /run of its own and without uids of its own needs a uidRange of its
// own.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/runner/config.h"

namespace writ::cli {

inline constexpr const char* kUidLockDir = "/run/writ";
// Where the uids of a runner lie whose operator names no range: far above people, services and the
// usual sub-uid ranges.
inline constexpr uid_t kDefaultFirstUid = 2'000'000'000;
inline constexpr uid_t kDefaultUidSpan = 1'000'000;

// The place in there that a runner tries first: its folder's own, so that one that was killed finds
// its uids free at its next start, whoever started meanwhile.
uid_t FirstUidFor(const std::string& state_dir);

// Who chose the range: one that the operator wrote down is taken as it is or not at all.
enum class UidChoice { kOperators, kOurs };

struct UidRequest {
  std::string lock_dir = kUidLockDir;
  std::string state_dir;   // of the runner: it keeps the range that its earlier runs had
  std::string work_dir;    // sessions that are left there were those uids'
  runner::UidRange range;  // kOurs: where to look first, and how many
  UidChoice choice = UidChoice::kOurs;
};

struct UidReservation {
  runner::UidRange range;
  UniqueFd lock;        // while it is open the range is ours; empty: nothing needed reserving
  std::string moved{};  // one sentence where the runner gets other uids than last time; else empty
};

// kConflict "runner.uids_taken" where an operator's range overlaps one in use, or where the uids of
// runs that are not cleaned up yet do; kDenied "runner.uids_dir" where others than root could write
// the lock file.
Result<UidReservation> ReserveUids(const UidRequest& request);

}  // namespace writ::cli
