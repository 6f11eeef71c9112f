// A plane in a folder of its own, and a runner that signs with its own key, for tests.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "writ/base/clock.h"
#include "writ/plane/http_server.h"
#include "writ/plane/init.h"
#include "writ/plane/plane.h"
#include "writ/protocol/event.h"
#include "writ/protocol/keys.h"

namespace writ::test {

// A folder that goes with its owner.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string ReadText(const std::string& path);
void WriteText(const std::string& path, std::string_view text);

inline constexpr WallTime kTestStart{1'763'800'000'000};

class TestPlane {
 public:
  // `policy` empty: the one that Init writes.
  explicit TestPlane(const std::string& policy = "", plane::Config config = {});
  plane::Plane& operator*() { return *plane_; }
  plane::Plane* operator->() { return plane_.get(); }
  const std::string& dir() const { return folder_.path(); }
  void Reopen();
  void Reconfigure(const std::function<void(plane::Config&)>& change) {
    change(config_);
    Reopen();
  }
  void Close() { plane_.reset(); }
  void SetPolicyText(const std::string& text);

  ManualClock clock{kTestStart};
  plane::Caller local = plane::Caller::Local("owner");

 private:
  TempFolder folder_;
  plane::Config config_;
  std::unique_ptr<plane::Plane> plane_;
};

// The body of POST /v1/runs; its blobs are put into the plane first.
struct RequestOptions {
  std::string agent = "mock";
  std::string pool = "default";
  std::string prompt = "do it";
  std::vector<std::string> secrets = {};
  std::vector<std::string> hosts = {};
  json::Object extra = {};  // further members of request, or replacements
};
json::Value RunBody(plane::Plane& plane, const RequestOptions& options = {});

// Enrolled in the plane directly.
struct TestRunner {
  TestRunner(plane::Plane& plane, const plane::Caller& admin, const std::string& pool = "default");
  protocol::PrivateKey key = protocol::PrivateKey::Generate();
  std::string pool;
  std::string id;
  std::string token;
};

// A claim taken to its end: the events and the receipt that an honest runner would send.
struct FinishedRun {
  json::Value events;   // what the runner appends
  json::Value receipt;  // signed by the runner
};
FinishedRun FinishClaim(const plane::Claim& claim, const TestRunner& runner, WallTime now);

// Submit, claim, events, complete; the run's id. Fails the test where a step fails.
std::string RunToCompletion(TestPlane& plane, const TestRunner& runner,
                            const RequestOptions& options = {});

// Init's policy with some members replaced; with TOKEN releasable to pool default; with one consent
// rule (any-run by "lead") or two (agent-kind mock by "sec" as well).
std::string PolicyWith(const json::Object& changes);
std::string SecretPolicy();
std::string ConsentPolicy(int rules);

// Each fails the test where it does not work out.
std::string Submit(TestPlane& plane, const RequestOptions& options = {});
plane::Claim Claimed(TestPlane& plane, const TestRunner& runner);
std::vector<std::string> EventTypes(TestPlane& plane, const std::string& run);

}  // namespace writ::test
