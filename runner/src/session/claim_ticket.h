// ClaimTicket: the claim token in force, shared by the session's threads; a plane may renew it.
#pragma once

#include <mutex>
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
  }

 private:
  mutable std::mutex mutex_;  // guards token_
  Secret token_;
};

}  // namespace writ::runner
