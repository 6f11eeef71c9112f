// Identity: who this runner is, on disk below <state_dir>/identity (0700, every file 0600).
//
// The key pair is made and durable *before* the first enrolment call, so that an answer lost on the
// way is repaired by asking again with the same key and token. The runner token is a secret and
// stands in a file of its own, never in argv, environment or logs (L8, L11).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/keys.h"

namespace writ::runner {

struct Identity {
  protocol::PrivateKey key;
  protocol::RunnerId runner_id;
  std::string pool;
  Secret token;
};

class IdentityStore {
 public:
  // Makes <state_dir>/identity where it is missing; refuses one that others can enter
  // (runner.identity.mode).
  static Result<IdentityStore> Open(const std::string& state_dir);

  // The key pair; made, written and synced where there is none. kIntegrity where the file is
  // damaged: never replaced.
  Result<protocol::PrivateKey> LoadOrCreateKey();
  // nullopt: not enrolled yet.
  Result<std::optional<Identity>> Load();
  Status SaveEnrolment(const protocol::RunnerId& runner_id, const std::string& pool,
                       const Secret& token);

 private:
  explicit IdentityStore(UniqueFd dir) : dir_(std::move(dir)) {}
  UniqueFd dir_;
};

}  // namespace writ::runner
