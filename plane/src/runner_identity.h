// A runner as the plane knows it, found by its token or its id.
#pragma once

#include <string>
#include <string_view>

#include "store/database.h"
#include "writ/base/result.h"

namespace writ::plane {

struct RunnerIdentity {
  std::string runner_id;
  std::string pool;
  std::string key_id;
  std::string public_key;  // PEM
  bool rotate_asked = false;
  bool first_use = false;  // of a token that rotation gave: AuthenticateRunner notes it
};
// kDenied "unauthorized" for an unknown token or one that rotation has ended, "runner.revoked".
Result<RunnerIdentity> FindRunner(store::Database& db, std::string_view runner_token);
Result<RunnerIdentity> FindRunnerById(store::Database& db, const std::string& runner_id);

}  // namespace writ::plane
