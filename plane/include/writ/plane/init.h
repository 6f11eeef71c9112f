// A plane's directory: what `writ init` makes, and where everything in it is.
//
//   keys/org.pem          org private key, 0600     keys/org.pub.pem      its public half
//   keys/plane.pem        plane private key, 0600   keys/plane.pub.pem    its public half (runners
//   pin it) keys/secrets.key      32 bytes that seal the secrets store, 0600 keys/tokens.key 32
//   bytes that runner tokens are derived from, 0600 policy.json           warrant.policy.v1
//   config.json           writ.config.v1 (plane section: config.h)
//   plane/                state.db (SQLite), blobs/, logs/, tmp/
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/reader.h"

namespace writ::plane {

struct InitReport {
  std::vector<std::string> created;  // paths relative to the directory
  std::vector<std::string> kept;     // were there already and were not touched
};

// Makes what is missing under `dir` (an absolute path; made with mode 0700 where it does not
// exist), or nothing: what it made goes again where it could not make all. Never overwrites: every
// file is created exclusively, so a second call keeps all of them. A half of a key pair without the
// other is kIntegrity ("plane.key_incomplete"): nothing is replaced behind its owner.
Result<InitReport> Init(const std::string& dir);

// The policy that Init writes: pool "default", every agent kind that this version knows, no network
// host, no secret, a budget of 60 minutes, no consent rule, retention 365 and 90 days. No limit on
// spending: a contract that has one and allows hosts is refused by a runner that does not observe
// it.
std::string DefaultPolicy();

struct PolicyVerdict {
  std::vector<json::Issue> issues;  // empty: the policy can be enforced
  std::string policy_hash;          // empty where there are issues
};
// Whether the bytes are a policy of which every member can be enforced (L4). Pure.
PolicyVerdict CheckPolicy(std::string_view bytes);

}  // namespace writ::plane
