// ClaimTicket: the claim token in force, shared by the session's threads; a plane may renew it.
//
// Renewing never waits for the disk (L40): the lease's thread puts the token here, and whoever has
// time for it takes it from here into the journal.
#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "writ/base/secret.h"

namespace writ::runner {

class ClaimTicket {
 public:
  explicit ClaimTicket(Secret token) : token_(std::move(token)) {}
  Secret Get() const {
    std::lock_guard lock(mutex_);
    return token_.Clone();
  }
  void Renew(Secret token) {
    std::lock_guard lock(mutex_);
    token_ = std::move(token);
    unnoted_ = true;
  }
  // A renewed token that nobody has noted yet.
  std::optional<Secret> TakeUnnoted() {
    std::lock_guard lock(mutex_);
    if (!std::exchange(unnoted_, false)) return std::nullopt;
    return token_.Clone();
  }

 private:
  mutable std::mutex mutex_;  // guards what follows
  Secret token_;
  bool unnoted_ = false;
};

}  // namespace writ::runner
