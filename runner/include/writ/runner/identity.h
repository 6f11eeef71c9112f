// Identity: who this runner is, on disk below <state_dir>/identity (0700, every file 0600 but
// runner.pub.pem, the public key for auditors to pin).
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
  // (runner.identity.mode). Finishes a change of key that a kill had interrupted.
  static Result<IdentityStore> Open(const std::string& state_dir);

  // The key pair; made, written and synced where there is none. kIntegrity where the file is
  // damaged: never replaced.
  Result<protocol::PrivateKey> LoadOrCreateKey();
  // nullopt: not enrolled yet.
  Result<std::optional<Identity>> Load();
  Status SaveEnrolment(const protocol::RunnerId& runner_id, const std::string& pool,
                       const Secret& token);

  // A change of key. The next key is made and durable before anybody is told of it, and the same
  // one is given until it is committed: a call whose answer was lost is made again with it.
  Result<protocol::PrivateKey> LoadOrCreateNextKey();
  // Whether a change of key was begun and not committed: the plane may have the next key already.
  bool HasNextKey() const;
  // From now on the next key and this token are the runner's, whatever is killed when: durable once
  // the token's file has its name.
  Status CommitNextKey(const Secret& token);

 private:
  explicit IdentityStore(UniqueFd dir) : dir_(std::move(dir)) {}
  UniqueFd dir_;
};

}  // namespace writ::runner
