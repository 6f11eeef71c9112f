// Recipe: how a guest image is made, as a text. Reading is strict and pure (fuzzed:
// tests/fuzz/recipe.cc); nothing of the host is looked at.
//
//   FROM scratch | IMAGE | --suite SUITE [PACKAGE...]    first, once
//   RUN COMMAND                        for /bin/sh, in a machine of its own
//   COPY SOURCE... TARGET              of the recipe's folder; TARGET/ is a directory
//   ENV NAME=VALUE...                  for what follows; VALUE may stand in "..."
//   USER NAME | UID                    for what follows
//   WORKDIR /DIRECTORY                 for what follows; it is made
//   START COMMAND                      once; for `writ snapshot build`
//   HEALTHCHECK [--timeout=SECONDS] COMMAND    once; with START
//
// A line that ends with a backslash goes on in the next one. '#' begins a comment where a line
// begins. Each error is kInvalid "recipe.…" and names its line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends::microvm {

// What an image says of how things are to be run in it.
struct GuestConfig {
  std::vector<std::pair<std::string, std::string>> env;  // the last of a name holds; sorted
  std::string user;                                      // name or number; empty: root
  std::string work_dir;                                  // absolute; empty: /
  std::string start;                                     // for /bin/sh; empty: nothing is started
  std::string health;                                    // for /bin/sh; ends with 0 once it is well
  unsigned health_timeout_s = 60;
  bool empty() const {
    return env.empty() && user.empty() && work_dir.empty() && start.empty() && health.empty();
  }
  bool operator==(const GuestConfig&) const = default;
};

struct RecipeBase {
  enum class Kind { kScratch, kImage, kSuite };
  Kind kind = Kind::kScratch;
  std::string name;                   // of image or suite
  std::vector<std::string> packages;  // kSuite
};

struct RecipeStep {
  enum class Kind { kRun, kCopy, kEnv, kUser, kWorkDir, kStart, kHealth };
  Kind kind = Kind::kRun;
  std::size_t line = 0;              // the first one is 1
  std::string text;                  // "RUN make", as one line: what is cached by
  std::string command;               // kRun, kStart, kHealth
  std::vector<std::string> sources;  // kCopy: relative, clean
  std::string target;                // kCopy, kWorkDir: absolute; kUser
  std::vector<std::pair<std::string, std::string>> env;  // kEnv
  unsigned timeout_s = 0;                                // kHealth
};

struct Recipe {
  RecipeBase base;
  std::size_t base_line = 0;
  std::vector<RecipeStep> steps;
};

inline constexpr std::size_t kMaxRecipeBytes = 256u << 10;
inline constexpr std::size_t kMaxRecipeSteps = 256;

Result<Recipe> ParseRecipe(std::string_view text);

// What the step changes of it; nothing for kRun and kCopy.
void Apply(const RecipeStep& step, GuestConfig& config);

// For `writ snapshot build`, after other warm-up commands: starts what START says and waits until
// HEALTHCHECK ends with 0; empty where there is no START. Text for /bin/sh.
std::string WarmUpOf(const GuestConfig& config);

}  // namespace writ::backends::microvm
