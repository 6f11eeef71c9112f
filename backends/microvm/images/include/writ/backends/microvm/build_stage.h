// BuildStage: a directory for what is being built, gone with it. In /var/tmp: a root is larger than
// what a host keeps in memory.
#pragma once

#include <string>
#include <utility>

#include "writ/base/result.h"

namespace writ::backends::microvm {

class BuildStage {
 public:
  static Result<BuildStage> Make();
  BuildStage(BuildStage&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  BuildStage& operator=(BuildStage&&) = delete;
  ~BuildStage();
  const std::string& path() const { return path_; }

 private:
  explicit BuildStage(std::string path) : path_(std::move(path)) {}
  std::string path_;  // empty: moved from
};

}  // namespace writ::backends::microvm
