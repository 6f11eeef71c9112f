// AgentParts: what an agent needs of a root file system, taken from this host where its runner
// would find it (runner/profiles.h): the program, its interpreter, the tree that it is installed
// in, and the libraries that those are linked with and the root lacks, each at the same place.
//
// A run brings the runner's own installation into its machine as well, above this one, so that its
// receipt tells what ran; what the image gives is what that needs to run in any root.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/microvm/guest_image.h"
#include "writ/base/result.h"

namespace writ::cli {

class AgentParts {
 public:
  // kInvalid "image.agent_unknown"; kUnsupported "image.agent_missing" with how to install it.
  // `dir`: whose runner.json says where agents are.
  static Result<AgentParts> Find(const std::string& dir, const std::vector<std::string>& kinds);

  bool empty() const { return kinds_.empty(); }
  const std::vector<backends::microvm::GuestAgentPart>& kinds() const { return kinds_; }
  // Of Debian, beside: for roots that are made of packages.
  std::vector<std::string> Packages() const;
  // Kinds, versions and places: what is put in, as far as it is known without reading it.
  std::string Key() const;
  // Puts everything into the root `root`, a directory that is still being made.
  Status Furnish(int root) const;

 private:
  std::vector<backends::microvm::GuestAgentPart> kinds_;
  std::vector<std::string> parts_;     // absolute, real
  std::vector<std::string> programs_;  // of which libraries are asked
};

}  // namespace writ::cli
