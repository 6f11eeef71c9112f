// Retention and the collection of blobs: what goes, what stays, what is written down, and what a
// kill or another process in between changes: nothing.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "lease_test.h"
#include "writ/base/sqlite/database.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using plane::GarbageMode;
using std::chrono::hours;

constexpr auto kTerm = hours(24 * 91);

class Gc : public ::testing::Test {
 protected:
  Gc() { plane.clock.SetWall(SystemClock().Now()); }
  std::string Exported() {
    std::string out;
    EXPECT_TRUE(plane->Export({}, [&](std::string_view line) -> Status {
      out += line;
      out += '\n';
      return {};
    }));
    return out;
  }
  std::string PathOf(const std::string& hash) {
    return plane.dir() + "/plane/blobs/" + hash.substr(0, 2) + "/" + hash;
  }
  bool IsThere(const std::string& hash) { return std::filesystem::exists(PathOf(hash)); }
  plane::GarbageReport Collect() { return plane->CollectGarbage(GarbageMode::kCollect).value(); }
  void Sql(const std::string& text) {
    auto db =
        sqlite::Database::Open(plane.dir() + "/plane/state.db", sqlite::Database::Mode::kReadWrite)
            .value();
    ASSERT_TRUE(db->Exec(text.c_str()));
  }
  std::int64_t Marks() {
    auto db =
        sqlite::Database::Open(plane.dir() + "/plane/state.db", sqlite::Database::Mode::kReadWrite)
            .value();
    return db->Number("SELECT COUNT(*) FROM blob_gc").value().value();
  }
  TestPlane plane;
};

// L38: a killed plane leaves nothing behind its next start, and nobody else's upload goes.
TEST_F(Gc, AnUploadOfAProcessThatDiedGoesAndOneThatIsWrittenStays) {
  const std::string left = plane.dir() + "/plane/tmp/upload-left";
  auto leave = [&] { std::ofstream(left) << "half of"; };
  leave();
  plane.Reopen();
  EXPECT_FALSE(std::filesystem::exists(left));
  auto living = plane->NewBlob();
  ASSERT_TRUE(living);
  ASSERT_TRUE((*living)->Append("all of it"));
  leave();
  ASSERT_TRUE(plane->Sweep());
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE((*living)->Finish({}));
}

TEST_F(Gc, SaysFirstWhatItWouldRemoveAndThenRemovesThat) {
  TestRunner runner(*plane, plane.local);
  RunToCompletion(plane, runner);
  const std::string stray = plane->PutBlob("nobody names it").value();
  plane.clock.Advance(kTerm);
  const std::string young = plane->PutBlob("came today").value();
  std::filesystem::last_write_time(PathOf(young),
                                   std::filesystem::file_time_type::clock::now() + kTerm);
  const auto foreseen = plane->CollectGarbage(GarbageMode::kDryRun).value();
  EXPECT_TRUE(IsThere(stray)) << "a dry run changes nothing";
  EXPECT_EQ(foreseen.artifacts, 1u);
  EXPECT_EQ(foreseen.blobs, 2u) << "the run's bundle and the stray one";
  EXPECT_EQ(foreseen.blobs_left, 1u);
  const auto done = Collect();
  EXPECT_EQ(done.artifacts, foreseen.artifacts);
  EXPECT_EQ(done.blobs, foreseen.blobs);
  EXPECT_EQ(done.bytes, foreseen.bytes);
  EXPECT_EQ(done.bytes_left, foreseen.bytes_left);
  EXPECT_FALSE(IsThere(stray));
  EXPECT_TRUE(IsThere(young));
  EXPECT_NE(Exported().find(stray), std::string::npos);
  const auto again = Collect();
  EXPECT_EQ(again.blobs + again.runs + again.artifacts, 0u);
}

TEST_F(Gc, ADirectoryThatIsOpenedToLookIsLeftAsItIs) {
  const std::string stray = plane->PutBlob("nobody names it").value();
  plane.clock.Advance(kTerm);
  plane.Close();
  auto looked = plane::Plane::Open(
      {.dir = plane.dir(), .config = std::nullopt, .at_open = plane::AtOpen::kChangeNothing},
      plane.clock);
  ASSERT_TRUE(looked) << looked.error().ToString();
  EXPECT_EQ((*looked)->CollectGarbage(GarbageMode::kDryRun)->blobs, 1u);
  EXPECT_TRUE(IsThere(stray));
  looked->reset();
  plane.Reopen();
  EXPECT_FALSE(IsThere(stray)) << "an ordinary open sweeps";
}

TEST_F(Gc, SparesWhatARunNeedsThatWaitsForItsApproval) {
  plane.SetPolicyText(ConsentPolicy(1));
  Submit(plane);
  const std::string bundle = plane->PutBlob("a git bundle").value();
  auto text = json::Parse(ConsentPolicy(1)).value();
  text.object().Set("retention", json::Object{{"receiptsDays", 1}, {"artifactsDays", 1}});
  plane.SetPolicyText(json::Write(text));
  plane.clock.Advance(hours(48));
  EXPECT_EQ(Collect().blobs, 0u);
  EXPECT_TRUE(IsThere(bundle));
}

TEST_F(Gc, SparesWhatAnOpenRunUploadedAndHasNotNamedYet) {
  TestRunner runner(*plane, plane.local);
  const std::string before = plane->PutBlob("from before the run").value();
  std::filesystem::last_write_time(PathOf(before),
                                   std::filesystem::file_time_type::clock::now() - hours(2));
  Submit(plane);
  const plane::Claim claim = Claimed(plane, runner);
  const std::string uploaded = plane->PutBlob("an output of the run").value();
  std::filesystem::last_write_time(PathOf(uploaded),
                                   std::filesystem::file_time_type::clock::now() + hours(1));
  plane.clock.Advance(kTerm);  // a long run, whose plane looked away
  Collect();
  EXPECT_FALSE(IsThere(before));
  EXPECT_TRUE(IsThere(uploaded));
}

TEST_F(Gc, ArtifactsNeverOutliveTheirReceiptsTerm) {
  TestRunner runner(*plane, plane.local);
  const std::string run = RunToCompletion(plane, runner);
  const std::string bundle = plane->PutBlob("a git bundle").value();
  plane.SetPolicyText(
      PolicyWith({{"retention", json::Object{{"receiptsDays", 30}, {"artifactsDays", 3000}}}}));
  plane.clock.Advance(hours(24 * 31));
  const auto report = Collect();
  EXPECT_EQ(report.runs, 1u);
  EXPECT_FALSE(IsThere(bundle));
  EXPECT_EQ(plane->Run(run).error().kind, ErrorKind::kNotFound);
}

TEST_F(Gc, WhatWasRecordedBeforeAKillIsRemovedByTheNextOne) {
  const std::string stray = plane->PutBlob("nobody names it").value();
  plane.clock.Advance(kTerm);
  // As a collection leaves it that was killed after its record.
  Sql("INSERT INTO blob_gc VALUES ('" + stray + "', " +
      std::to_string(plane.clock.Now().unix_ms - 1) + ")");
  Sql("INSERT INTO blob_gc VALUES ('" + std::string(64, '0') + "', 1)");  // gone already
  Collect();
  EXPECT_FALSE(IsThere(stray));
  EXPECT_EQ(Marks(), 0);
}

TEST_F(Gc, WhatCameBackAfterAKillStaysAndTheChainSaysSo) {
  TestRunner runner(*plane, plane.local);
  const std::string again = plane->PutBlob("uploaded again").value();
  RunToCompletion(plane, runner);
  const std::string named = plane->PutBlob("a git bundle").value();
  const std::string mark = std::to_string(SystemClock().Now().unix_ms - 60'000);
  Sql("INSERT INTO blob_gc VALUES ('" + again + "', " + mark + ")");
  Sql("INSERT INTO blob_gc VALUES ('" + named + "', 9000000000000)");
  Collect();
  EXPECT_TRUE(IsThere(again));
  EXPECT_TRUE(IsThere(named)) << "a run names it";
  EXPECT_EQ(Marks(), 0);
  EXPECT_NE(Exported().find("\"blobsKept\":["), std::string::npos);
}

// A request that was accepted has its blobs, whatever a collection does at the same moment.
TEST_F(Gc, NeverTakesABlobFromUnderARequestThatIsAccepted) {
  int accepted = 0;
  for (int i = 0; i < 20; ++i) {
    const std::string bundle = plane->PutBlob("bundle " + std::to_string(i)).value();
    std::filesystem::last_write_time(PathOf(bundle),
                                     std::filesystem::file_time_type::clock::now() - kTerm);
    std::string body = json::Write(RunBody(*plane));
    const std::string usual = protocol::Sha256("a git bundle").ToHex();
    body.replace(body.find(usual), usual.size(), bundle);
    std::thread collector([&] {
      auto swept = plane->CollectGarbage(GarbageMode::kCollect);
      EXPECT_TRUE(swept) << (swept ? "" : swept.error().ToString());
    });
    auto made = plane->Submit(plane.local, body);
    collector.join();
    ASSERT_TRUE(made) << made.error().ToString();
    if (made->kind == plane::Submission::Kind::kInvalid) continue;  // it was too late, and is told
    ASSERT_EQ(made->kind, plane::Submission::Kind::kAccepted);
    ++accepted;
    EXPECT_TRUE(IsThere(bundle)) << i;
  }
  RecordProperty("accepted", accepted);
}

TEST_F(Gc, NeverTakesABlobFromUnderAnUploadThatWasAnswered) {
  for (int i = 0; i < 20; ++i) {
    const std::string text = "output " + std::to_string(i);
    const std::string hash = plane->PutBlob(text).value();
    std::filesystem::last_write_time(PathOf(hash),
                                     std::filesystem::file_time_type::clock::now() - kTerm);
    std::thread collector([&] { Collect(); });
    EXPECT_EQ(plane->PutBlob(text).value(), hash);
    EXPECT_TRUE(IsThere(hash)) << i;
    collector.join();
    EXPECT_TRUE(IsThere(hash)) << i;
  }
}

TEST_F(Gc, ARunsArtifactsAreListedWithWhatHasBecomeOfThem) {
  namespace events = protocol::events;
  TestRunner runner(*plane, plane.local);
  Submit(plane);
  const plane::Claim claim = Claimed(plane, runner);
  const std::string log = plane->PutBlob("the log").value();
  const std::string never = std::string(64, '7');
  std::vector<protocol::Event> chain_so_far;
  for (const auto& text : claim.events)
    chain_so_far.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
  auto contract = protocol::Contract::Parse(json::Parse(claim.contract).value()).value();
  auto chain = protocol::EventChain::FromEvents(contract.Hash(), chain_so_far).value();
  json::Array added;
  for (const auto& event :
       {json::Value(
            json::Object{{"type", events::kArtifactCreated}, {"kind", "log"}, {"hash", log}}),
        json::Value(json::Object{{"type", events::kBoundaryCrossed},
                                 {"direction", "out"},
                                 {"contentHash", log},
                                 {"dataClass", "session-log"}}),
        json::Value(json::Object{{"type", events::kArtifactCreated},
                                 {"kind", "file"},
                                 {"hash", never},
                                 {"path", "out/a.txt"},
                                 {"bytes", 12}})})
    added.push_back(chain.Append(plane.clock.Now(), event).ToJson());
  auto taken = plane->AppendEvents(claim.run_id, claim.claim_token, added);
  ASSERT_TRUE(taken && taken->accepted) << (taken ? taken->rejection : taken.error().ToString());
  auto listed = plane->Artifacts(claim.run_id).value();
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0].kind, "log");
  EXPECT_EQ(listed[0].bytes, 7u) << "of the blob, where no event says it";
  EXPECT_EQ(listed[0].data_class, "session-log");
  EXPECT_EQ(listed[1].path, "out/a.txt");
  EXPECT_EQ(listed[1].bytes, 12u);
  EXPECT_EQ(listed[1].data_class, "") << "it was not uploaded";
  Sql("UPDATE runs SET status = 'failed'");
  plane.clock.Advance(kTerm);
  Collect();
  listed = plane->Artifacts(claim.run_id).value();
  EXPECT_TRUE(listed[0].pruned);
  EXPECT_FALSE(listed[1].pruned) << "what was never here is not pruned";
  EXPECT_EQ(plane->Artifacts("run_none").error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace writ::test
