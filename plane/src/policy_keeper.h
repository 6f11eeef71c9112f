// PolicyKeeper: DIR/policy.json, read again when the file has changed. A file that is damaged or
// cannot be enforced is an error for whoever needs the policy, not a reason to go on with the old
// one (L4).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/policy.h"

namespace writ::plane {

struct LoadedPolicy {
  protocol::Policy policy;
  std::string text;  // as in the file
  std::string hash;  // hex
};

class PolicyKeeper {
 public:
  explicit PolicyKeeper(UniqueFd dir) : dir_(std::move(dir)) {}
  // kUnavailable "policy.unreadable", "policy.refused".
  Result<std::shared_ptr<const LoadedPolicy>> Current() const;
  // Checks, then replaces the file. kInvalid "policy.refused".
  Result<std::shared_ptr<const LoadedPolicy>> Replace(std::string_view bytes);

 private:
  struct Stamp {
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    off_t size = -1;
    ino_t inode = 0;
    bool operator==(const Stamp&) const = default;
  };
  UniqueFd dir_;
  mutable std::mutex mutex_;  // guards the two below
  mutable Stamp stamp_;
  mutable std::shared_ptr<const LoadedPolicy> current_;
};

}  // namespace writ::plane
