// The run's private directories: session_dir/home and session_dir/tmp, the job's own, 0700.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

inline constexpr char kHomeName[] = "home";
inline constexpr char kTmpName[] = "tmp";
inline constexpr char kStatusName[] = "launch.status";

// Whether `identity` may search every directory down to `path` (the job's uid must reach its
// trees), and none of them is a symbolic link: who made that could lead it elsewhere. The error
// names the directory in the way.
Status CheckReachable(const std::string& path, const Identity& identity);
// The same, and that it is a directory which the identity may write.
Status CheckWritableDirectory(const std::string& path, const Identity& identity);

// Makes an existing directory the identity's own (as root; else it is already). kInvalid where it
// is none.
Status GiveDirectory(const std::string& path, const Identity& identity);

// Where HOME is: beside tmp in the session directory, or in the job's own view (HomeSteps).
enum class HomePlace { kOnDisk, kInTheView };
// Makes them with the plan's home files; as root everything is given to the job's ids. kConflict
// where one is there already.
Status MakePrivateDirs(int session_dir, const Plan& plan, HomePlace home);
// The plan's home files and the ones that every home has.
std::vector<HomeFile> HomeFilesOf(const Plan& plan);

// Removes what is there of both; the errors of what could not be removed, by name.
std::vector<std::string> RemovePrivateDirs(int session_dir);

}  // namespace writ::backends
