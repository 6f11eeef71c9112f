// What the sources of FakePlane share.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>

#include "e2e/support/fake_plane.h"

namespace writ::test {

struct FakePlane::State {
  mutable std::mutex mutex;
  std::condition_variable changed;  // something that a held call waits for
  bool stopping = false;
  std::deque<std::string> queue;           // run ids to hand out
  std::map<std::string, std::string> raw;  // claim answers as they are
  std::map<std::string, Run> runs;
  std::map<std::string, std::string> blobs;
  std::map<std::string, int> calls;
  std::vector<std::string> violations;
  int refused_tokens = 0;
  std::vector<std::int64_t> waits;
  std::function<std::optional<Answer>(const std::string&, const std::string&)> fault;
  std::string runner_pem;
  std::string runner_token = "runner-token-of-the-test";
  // kLeased
  LeaseRules rules;
  bool revoked = false;
  json::Value capabilities;  // of the last claim that had some; null: none had
  std::string rotated_to;    // the public key of a rotation; its token is runner_token then,
                             // and the old one goes with the new one's first use
  bool withholds_secrets = false;
};

inline FakePlane::Answer Json(json::Value value, int status = 200) {
  return {status, json::Write(value), "application/json"};
}
inline FakePlane::Answer Refuse(int status, const std::string& why,
                                const std::string& code = "bad_request") {
  json::Object out{{"error", why}, {"code", code}};
  if (code.find('.') != std::string::npos) {  // a finer one stands beside the general one
    out.Set("code", status == 409 ? "conflict" : "forbidden");
    out.Set("detail", code);
  }
  return Json(std::move(out), status);
}

// What a run that is not in work any more answers to its runner.
template <typename State>
std::optional<FakePlane::Answer> Gate(const State& state, const FakePlane::Run& run) {
  if (state.revoked) return Refuse(403, "revoked", "runner.revoked");
  if (run.forgotten) return Refuse(404, "no such run", "not_found");
  if (run.ended) return Refuse(409, "the run has ended", "run.ended");
  return std::nullopt;
}

}  // namespace writ::test
