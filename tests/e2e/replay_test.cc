// The recorded conversation of an independent plane and runner, replayed: our runner, the real
// process backend, proxy and mock agent give the same diff and log blobs and the same events in the
// same order (protocol.md section 2).
#include <gtest/gtest.h>

#include "e2e/support/runner_world.h"
#include "support/places.h"
#include "support/shared_dir.h"
#include "writ/backends/process_backend.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ {
namespace {

using test::FakePlane;

struct RecordedRun {
  std::string run_id;
  std::string claim;  // the answer, as text
  std::vector<protocol::Event> events_of_plane;
  std::vector<json::Value> events_of_runner;
  std::vector<std::string> blobs;  // hashes uploaded by the runner
  std::string status;
  std::string diff_hash;
};

std::vector<RecordedRun> Recording(std::string& plane_key_pem) {
  std::vector<RecordedRun> runs;
  json::Value recording =
      json::Parse(ReadFile(test::PeerVectors() + "/http.json", 64 << 20).value()).value();
  std::string step;
  for (const json::Value& entry : recording.array()) {
    if (auto title = entry.FindString("step")) step = *title;
    const json::Value* request = entry.Find("request");
    if (request == nullptr) continue;
    std::string path(request->FindString("path").value_or(""));
    const json::Value& answer = *entry.Find("response")->Find("body");
    if (path.ends_with("/bundle"))
      plane_key_pem = *answer.Find("keys")->FindString("planePublicKeyPem");
    if (step.starts_with("completion replay")) continue;
    if (path == "/v1/claims" && answer.Find("contract") != nullptr) {
      RecordedRun run;
      run.run_id = *answer.FindString("runId");
      run.claim = json::Write(answer);
      run.events_of_plane = protocol::Event::ParseAll(*answer.Find("events")).value();
      runs.push_back(std::move(run));
    } else if (!runs.empty() && path == "/v1/blobs" &&
               request->FindString("authorization").value_or("").starts_with("Bearer eyJ")) {
      runs.back().blobs.emplace_back(*answer.FindString("hash"));
    } else if (!runs.empty() && path.ends_with("/events")) {
      for (const json::Value& event : request->Find("body")->Find("events")->array())
        runs.back().events_of_runner.push_back(*event.Find("event"));
    } else if (!runs.empty() && path.ends_with("/complete")) {
      const json::Value& receipt = *request->Find("body")->Find("receipt");
      runs.back().status = *receipt.FindString("status");
      runs.back().diff_hash = *receipt.Find("workspaceOut")->FindString("diffHash");
    }
  }
  return runs;
}

class Replay : public ::testing::Test {
 protected:
  Replay()
      : clock_(test::ShiftedClock::At("2026-11-22T08:36:00.000Z")),
        plane_(clock_, FakePlane::Dialect::kBase),
        world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
  }
  test::ShiftedClock clock_;
  FakePlane plane_;
  test::RunnerWorld world_;
};

TEST_F(Replay, OfEveryRecordedRunGivesTheSameBlobsEventsAndStatus) {
  std::string plane_key_pem;
  std::vector<RecordedRun> runs = Recording(plane_key_pem);
  ASSERT_EQ(runs.size(), 4u);
  world_.config.plane_key_pem = plane_key_pem;
  ASSERT_TRUE(world_.registry.Add(
      backends::MakeProcessBackend({.launcher = writ::test::BinDir() + "/writ-launch"})));
  const backends::Capabilities& can = world_.registry.All().front()->Probe();
  if (!can.usable || can.network.enforcement != backends::Enforcement::kKernel)
    GTEST_SKIP() << "the process tier cannot hold the network here: " << can.unusable_reason
                 << can.network.reason;
  for (const RecordedRun& recorded : runs) {
    SCOPED_TRACE(recorded.run_id);
    std::string claim = recorded.claim;
    // The recorded token is not one that this fake plane gives out.
    json::Value answer = json::Parse(claim).value();
    answer.object().Set("claimToken", "claim-" + recorded.run_id);
    plane_.AddRaw(recorded.run_id, json::Write(answer), recorded.events_of_plane);
    Result<std::optional<std::string>> ran = world_.RunOne();
    ASSERT_TRUE(ran) << ran.error().ToString();
    FakePlane::Run run = plane_.Get(recorded.run_id);
    EXPECT_EQ(plane_.violations(), std::vector<std::string>());
    ASSERT_EQ(run.completions, 1);
    EXPECT_EQ(run.receipt.FindString("status"), recorded.status) << world_.observer.end().message;
    EXPECT_EQ(run.receipt.Find("workspaceOut")->FindString("diffHash"), recorded.diff_hash);
    for (const std::string& blob : recorded.blobs) EXPECT_TRUE(plane_.HasBlob(blob)) << blob;

    // The same events, members included, up to the hash of the mock agent's own command line; our
    // trace beside them.
    std::vector<json::Value> ours;
    for (std::size_t i = run.events_of_plane; i < run.events.size(); ++i)
      ours.push_back(run.events[i].event);
    for (std::size_t i = 0; i + 1 < ours.size(); ++i) {
      if (ours[i].FindString("type") == "artifact.created" &&
          ours[i].FindString("kind") == "trace") {
        ours.erase(ours.begin() + static_cast<std::ptrdiff_t>(i),
                   ours.begin() + static_cast<std::ptrdiff_t>(i) + 2);
        break;
      }
    }
    ASSERT_EQ(ours.size(), recorded.events_of_runner.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      json::Value want = recorded.events_of_runner[i];
      if (want.FindString("type") == "command.executed" &&
          answer.Find("contract")->Find("agent")->FindString("kind") == "mock") {
        want.object().Set("argvHash", *ours[i].FindString("argvHash"));
      }
      EXPECT_EQ(json::Write(ours[i]), json::Write(want)) << i;
    }
    EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
  }
}

}  // namespace
}  // namespace writ
