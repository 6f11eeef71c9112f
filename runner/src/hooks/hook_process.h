// RunHookProcess: one program, fed and heard and ended within its deadline, with everything that it
// has started (L16, L44).
//
// It runs beneath a warden (`writ-launch --hook`), a subreaper: a child that leaves its session,
// its parent and its environment behind comes back to that one, which ends it. The tree is ended
// when the program ends as well: nothing of a hook outlives it. Should the warden itself be killed
// - by a hook of its own uid - the tree is what shares its session, descends from it, or carries
// the mark that its environment was given.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"

namespace writ::runner {

inline constexpr std::size_t kMaxHookOutput = 16 * 1024;  // kept; the rest is read and dropped

struct HookCommand {
  std::string warden;  // absolute path of writ-launch
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;  // the mark is added
  std::string_view input;
  std::chrono::milliseconds deadline{0};
};

struct HookProcessEnd {
  std::optional<int> exit_code;  // nullopt: not by itself
  bool timed_out = false;
  std::chrono::milliseconds took{0};
  std::string output;  // standard output and error, as they came
  std::uint64_t left_out = 0;
};

// An error: it could not be started.
Result<HookProcessEnd> RunHookProcess(const HookCommand& command);

}  // namespace writ::runner
