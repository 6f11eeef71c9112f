// What the tests of protocol/ share: reading vectors, and a whole run made from scratch.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/shared_dir.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"
#include "writ/protocol/json.h"

namespace writ::protocol::test {

std::string ReadText(const std::string& path);
json::Value ReadJson(const std::string& path);
// The tests' own keys; `which` is plane, runner, org or stranger of the recorded key vectors.
PrivateKey Key(const std::string& which);

struct MadeRun {
  Contract contract;
  std::vector<Event> events;
  Receipt receipt;
  json::Value bundle;
  std::string text;  // of the bundle
};
struct RunShape {
  std::string run_id = "run_a";
  std::string prompt = "do the work";
  std::string pool = "default";
  std::string host = "api.example.com";
  std::string content = "one";  // what the artifacts hold
  std::string secret = "API_TOKEN";
  std::string plane_key = "plane", runner_key = "runner";
  std::int64_t start_ms = 1782104748000;
  bool with_environment = true;
};
MadeRun MakeRun(const RunShape& shape);
// Signs the changed receipt again with both keys: for bundles that are wrong in substance, not in
// signature.
void SignAgain(json::Value& bundle, const RunShape& shape);
// Makes the chain whole again after events were changed, and the receipt's head, count and
// signatures with it.
void Rechain(json::Value& bundle, const RunShape& shape);

}  // namespace writ::protocol::test
