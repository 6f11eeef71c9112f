// ViewStep: one act in making the root directory that a job sees.
//
// The view starts as an empty tmpfs. Targets are paths in it without a leading slash; what leads to
// a target is made where it is missing (directories 0755). Sources are absolute paths of the host;
// none of them may lead through a symbolic link (ELOOP). When all steps are done the root is made
// read-only and everything of the host that is not in it is out of reach.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "writ/backends/linux/landlock.h"

namespace writ::backends::launch {

enum class BindAccess : std::uint8_t {
  kReadOnly,   // nosuid, nodev, read-only, with everything mounted below it
  kReadWrite,  // nosuid, nodev
  kDevice,     // one device node: nosuid, noexec
};

// Whose the files of an overlay's lower tree are on disk.
enum class LowerOwner : std::uint8_t {
  kJob,
  // Of uid and gid 0, shown as the job's own: the supervisor, which is root, makes an idmapped copy
  // of the mount (5.19 for overlays). Direct writes stay refused; the overlay copies up.
  kRoot,
};

struct ViewStep {
  enum class Kind : std::uint8_t {
    kDirectory,  // target, mode
    kSymlink,    // target -> source
    kFile,       // target, source (its bytes), mode
    kBind,       // target = source of the host, access, if_missing
    kTmpfs,      // target, mode, bytes, inodes
    kProc,       // target: of the job's pid namespace, hidepid=2
    kDevpts,     // target: pseudo terminals of the job's own
    kOverlay,    // target = upper over source, work, lower_owner; userxattr
    kMask,       // target becomes empty where it is there
    kSeal,       // target and what is below it becomes read-only where it is there
  };
  Kind kind = Kind::kDirectory;
  std::string target;
  std::string source;
  std::string upper;
  std::string work;
  mode_t mode = 0755;
  std::uint64_t bytes = 0;   // 0: as the kernel has it
  std::uint64_t inodes = 0;  // 0: as the kernel has it
  BindAccess access = BindAccess::kReadOnly;
  IfMissing if_missing = IfMissing::kFail;
  LowerOwner lower_owner = LowerOwner::kJob;
};
inline ViewStep MakeStep(ViewStep::Kind kind, std::string target, std::string source = {},
                         BindAccess access = BindAccess::kReadOnly) {
  ViewStep step;
  step.kind = kind;
  step.target = std::move(target);
  step.source = std::move(source);
  step.access = access;
  return step;
}
std::string_view ViewStepName(ViewStep::Kind kind);  // "directory", "symlink", ...

}  // namespace writ::backends::launch
