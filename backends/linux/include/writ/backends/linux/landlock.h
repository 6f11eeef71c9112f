// Landlock: the job's view of the host's files, taken away by the job itself before exec.
//
// What it does here: everything that is handled and has no rule is denied - reading, writing,
// executing, making and removing - for the process and all its descendants, for ever. From ABI 6 on
// a signal or a connection to an abstract Unix socket outside the domain is refused too, and from
// the first ABI on a process outside the domain cannot be traced (so its /proc/PID/mem, environ and
// fd are closed, even for the same uid).
// What it does *not*: stat, chdir and readlink are not handled (names and sizes can be seen);
// before ABI 3 truncate(2) is not; before ABI 2 no file can be moved between directories; TCP rules
// know ports, not addresses; path names of Unix sockets are not handled at all (seccomp refuses
// AF_UNIX).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// The ABI of the running kernel by its system call (/sys/kernel/security may not be mounted);
// 0 where Landlock is absent or switched off.
int LandlockAbi();

enum class PathAccess : std::uint8_t {
  kRead,         // read files, list directories
  kReadExecute,  // and run programs
  kReadWrite,    // everything but making device nodes
  kDevice,       // read, write and ioctl an existing file or the files of a directory
};
enum class IfMissing : std::uint8_t { kFail, kSkip };

struct LandlockPath {
  std::string path;  // absolute, may be a file or a directory, symbolic links are followed
  PathAccess access = PathAccess::kRead;
  IfMissing if_missing = IfMissing::kFail;
};

enum class TcpRules : std::uint8_t {
  kOnlyConnectPort,  // from ABI 4 on no port can be bound, and only connect_port connected to
  kNone,             // TCP is not this layer's: the job has a network namespace of its own
};

struct LandlockRules {
  int abi = 0;  // what to use: at most LandlockAbi()
  std::vector<LandlockPath> paths;
  TcpRules tcp = TcpRules::kOnlyConnectPort;
  // The one port that the job itself may connect to (nullopt: none - a supervisor connects for it).
  std::optional<std::uint16_t> connect_port;
};

// A ruleset ready for RestrictSelf. Error context names the path that failed.
Result<UniqueFd> MakeLandlockRuleset(const LandlockRules& rules);

// Applies it to the calling thread; needs no_new_privs. Async-signal-safe.
int LandlockRestrictSelf(int ruleset);  // 0 or errno

}  // namespace writ::backends
