// Blobs in pieces: over HTTP as a hostile runner would send them, and by the real runner's client.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "http_api.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"
#include "writ/runner/plane_client.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::string HashOf(std::string_view bytes) {
  return protocol::Sha256(bytes).ToHex();
}

class Pieces : public Api {
 protected:
  void StartWith(const plane::Config& config = {}) {
    Start(config);
    runner = std::make_unique<TestRunner>(**plane, plane->local);
    token = NewClaim();
  }
  static plane::Config Small() {
    plane::Config config;
    config.max_blob_bytes = 2000;
    return config;
  }
  std::string NewClaim() {
    Submit(*plane);
    return Claimed(*plane, *runner).claim_token;
  }
  HttpAnswer Put(const std::string& name, std::uint64_t offset, std::uint64_t total,
                 const std::string& piece, const std::string& by) {
    return client->Send({.method = "PUT",
                         .path = "/v1/blobs/" + name + "?offset=" + std::to_string(offset) +
                                 "&total=" + std::to_string(total),
                         .token = by,
                         .body = piece,
                         .content_type = "application/octet-stream"});
  }
  HttpAnswer Head(const std::string& name, const std::string& by) {
    return client->Send(
        {.method = "HEAD", .path = "/v1/blobs/" + name, .token = by, .body = std::nullopt});
  }
  std::string OffsetOf(const std::string& name, const std::string& by) {
    return Head(name, by).headers["writ-upload-offset"];
  }
  std::size_t PartsOnDisk() {
    const auto all = fs::directory_iterator(plane->dir() + "/plane/parts");
    return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
  }
  const std::string bytes = std::string(1000, 'a') + std::string(500, 'b');
  const std::string hash = HashOf(bytes);
  std::unique_ptr<TestRunner> runner;
  std::string token;
};

TEST_F(Pieces, MakeTheBlobAndSayHowFarTheyHaveCome) {
  StartWith();
  EXPECT_EQ(Head(hash, token).status, 404);
  EXPECT_EQ(OffsetOf(hash, token), "") << "there is no part";
  auto first = Put(hash, 0, 1500, bytes.substr(0, 1000), token);
  EXPECT_EQ(first.status, 202) << first.body;
  EXPECT_EQ(first.Json().Find("offset")->AsInteger(), 1000);
  EXPECT_EQ(OffsetOf(hash, token), "1000");
  EXPECT_EQ(client->Get("/v1/blobs/" + hash, token).status, 404) << "a part is no blob";
  auto last = Put(hash, 1000, 1500, bytes.substr(1000), token);
  EXPECT_EQ(last.status, 201) << last.body;
  EXPECT_EQ(client->Get("/v1/blobs/" + hash, token).body, bytes);
  EXPECT_EQ(Head(hash, token).status, 200);
  EXPECT_EQ(PartsOnDisk(), 0u);
  EXPECT_EQ(Put(hash, 1000, 1500, bytes.substr(1000), token).status, 201)
      << "whose answer was lost sends it again";
  EXPECT_EQ(PartsOnDisk(), 0u);
}

TEST_F(Pieces, ThatDoNotFitChangeNothing) {
  StartWith();
  auto gap = Put(hash, 1000, 1500, bytes.substr(1000), token);
  EXPECT_EQ(gap.status, 409);
  EXPECT_EQ(gap.Json().Find("offset")->AsInteger(), 0);
  EXPECT_EQ(PartsOnDisk(), 0u) << "a refused first piece leaves nothing";
  ASSERT_EQ(Put(hash, 0, 1500, bytes.substr(0, 1000), token).status, 202);
  for (std::uint64_t at : {0u, 999u, 1001u}) {
    auto refused = Put(hash, at, 1500, "xyz", token);
    EXPECT_EQ(refused.status, 409) << at;
    EXPECT_EQ(refused.Json().Find("offset")->AsInteger(), 1000);
  }
  EXPECT_EQ(Put(hash, 1000, 1500, bytes, token).status, 400) << "past the total";
  EXPECT_EQ(Put(hash, 1400, 1300, "x", token).status, 400) << "begins past the total";
  EXPECT_EQ(
      client->Send({.method = "PUT", .path = "/v1/blobs/" + hash, .token = token, .body = "x"})
          .status,
      400);
  EXPECT_EQ(Put("nohash", 0, 1, "x", token).status, 400);
  EXPECT_EQ(Put(hash, 1000, 1500, bytes.substr(1000), token).status, 201);
}

// L15
TEST_F(Pieces, OfOtherBytesThanTheHashSaysBecomeNoBlobAndAreGone) {
  StartWith();
  ASSERT_EQ(Put(hash, 0, 1500, std::string(1000, 'x'), token).status, 202);
  auto wrong = Put(hash, 1000, 1500, bytes.substr(1000), token);
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.Json().FindString("detail"), "blob.hash_mismatch");
  EXPECT_EQ(Head(hash, token).status, 404);
  EXPECT_EQ(OffsetOf(hash, token), "");
  EXPECT_EQ(PartsOnDisk(), 0u);
}

TEST_F(Pieces, OfOneRunAreOutOfReachForAnother) {
  StartWith();
  ASSERT_EQ(Put(hash, 0, 1500, std::string(1000, 'x'), token).status, 202);
  const std::string other = NewClaim();
  EXPECT_EQ(OffsetOf(hash, other), "");
  EXPECT_EQ(Put(hash, 1000, 1500, bytes.substr(1000), other).status, 409);
  EXPECT_EQ(Put(hash, 0, 1500, bytes, other).status, 201) << "its own is not spoiled";
  EXPECT_EQ(client->Get("/v1/blobs/" + hash, other).body, bytes);
}

TEST_F(Pieces, AreForHoldersOfAClaimOnly) {
  StartWith();
  const std::string admin = Token("root", {plane::Role::kAdmin});
  EXPECT_EQ(Put(hash, 0, 1500, bytes, "").status, 401);
  for (const std::string& other : {std::string("wrong"), admin, runner->token}) {
    auto refused = Put(hash, 0, 1500, bytes, other);
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(refused.Json().FindString("detail"), "claim.malformed");
  }
  ASSERT_TRUE((*plane)->RevokeRunner(plane->local, runner->id));
  EXPECT_EQ(Put(hash, 0, 1500, bytes, token).status, 403);
  EXPECT_EQ(PartsOnDisk(), 0u);
}

TEST_F(Pieces, TakeNoMoreRoomThanTheirRunHas) {
  StartWith(Small());
  EXPECT_EQ(Put(hash, 0, 2001, bytes, token).status, 413);
  ASSERT_EQ(Put(hash, 0, 1500, bytes.substr(0, 1400), token).status, 202);
  auto over = Put(HashOf("other"), 0, 1500, bytes.substr(0, 601), token);
  EXPECT_EQ(over.status, 429) << "one largest blob's bytes for a run";
  EXPECT_FALSE(over.headers["retry-after"].empty());
  EXPECT_EQ(Put(hash, 1400, 1500, bytes.substr(1400), token).status, 201);
  for (int i = 0; i < 16; ++i)
    ASSERT_EQ(Put(HashOf(std::to_string(i)), 0, 1500, "x", token).status, 202);
  EXPECT_EQ(Put(HashOf("one more"), 0, 1500, "x", token).status, 429);
  EXPECT_EQ(Put(HashOf("one more"), 0, 1500, "x", NewClaim()).status, 202);
}

TEST_F(Pieces, ThatStandStillMakeWayForOthersWhereTheRoomForAllIsUsedUp) {
  StartWith(Small());
  plane->clock.SetWall(real.Now());
  std::vector<std::string> tokens;
  for (int i = 0; i < 5; ++i) tokens.push_back(NewClaim());
  for (int i = 0; i < 4; ++i)
    ASSERT_EQ(Put(HashOf(std::to_string(i)), 0, 2000, std::string(1999, 'x'), tokens[i]).status,
              202);
  EXPECT_EQ(Put(hash, 0, 1500, bytes, tokens[4]).status, 429) << "those are at work";
  plane->clock.Advance(std::chrono::minutes(11));
  EXPECT_EQ(Put(hash, 0, 1500, bytes, tokens[4]).status, 201);
  EXPECT_EQ(PartsOnDisk(), 3u);
}

TEST_F(Pieces, NobodyWentOnWithForADayAreRemoved) {
  StartWith();
  plane->clock.SetWall(real.Now());
  ASSERT_EQ(Put(hash, 0, 1500, bytes.substr(0, 1000), NewClaim()).status, 202);
  plane->clock.Advance(std::chrono::hours(23));
  ASSERT_TRUE((*plane)->Sweep());
  EXPECT_EQ(PartsOnDisk(), 1u);
  plane->clock.Advance(std::chrono::hours(2));
  ASSERT_TRUE((*plane)->Sweep());
  EXPECT_EQ(PartsOnDisk(), 0u);
}

TEST_F(Pieces, AreThereAfterAKillAtAnyMoment) {
  StartWith();
  const auto claims = std::vector<std::string>{token, NewClaim(), NewClaim()};
  for (std::size_t round = 0; round < claims.size(); ++round) {
    auto pipe = MakePipe().value();
    const std::string dir = plane->dir();
    const pid_t child = ::fork();
    if (child == 0) {
      auto opened = plane::Plane::Open({.dir = dir, .config = std::nullopt}, plane->clock);
      for (std::uint64_t at = 0; opened && at < 1500; at += 10) {
        auto taken = (*opened)->PutBlobPiece(
            claims[round], {.hash = hash, .offset = at, .total = 1501, .bytes = "aaaaaaaaaa"});
        if (!taken || !WriteAll(pipe.write_end.get(), ".")) break;
      }
      ::_exit(1);
    }
    pipe.write_end.reset();
    std::uint64_t answered = 0;
    char byte;
    while (answered < 20 + round * 7 && ::read(pipe.read_end.get(), &byte, 1) == 1) ++answered;
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(pipe.read_end.get(), &byte, 1) == 1) ++answered;
    const std::uint64_t there = (*plane)->BlobPartBytes(claims[round], hash).value();
    EXPECT_GE(there, answered * 10);
    EXPECT_EQ(Put(hash, there, 1501, "a", claims[round]).status, 202) << "it goes on from there";
  }
}

// As a plane leaves it that was killed between the last byte and the look at the whole.
TEST_F(Pieces, AWholePartThatIsNoBlobYetIsEndedByAnEmptyPiece) {
  StartWith();
  ASSERT_EQ(Put(hash, 0, 1501, bytes, token).status, 202);  // not told yet that this is all
  EXPECT_EQ(OffsetOf(hash, token), "1500");
  EXPECT_EQ(Put(hash, 1500, 1500, "", token).status, 201);
  EXPECT_EQ(client->Get("/v1/blobs/" + hash, token).body, bytes);
}

// Both sides as they are: the runner's client against the plane's server.
class BothSides : public Pieces {
 protected:
  Result<runner::BlobSent> Send(std::string_view what) {
    if (!plane_client)
      plane_client.emplace(runner::PlaneClient::Open({.url = server->url()}, real).value());
    return plane_client->SendBlob(what, protocol::Sha256(what), Secret(token),
                                  [this](std::uint64_t more) { told += more; },
                                  runner::Deadline::After(real, milliseconds(60'000)), {});
  }
  const std::string blob = std::string(20u << 20, 'b') + "end";
  std::optional<runner::PlaneClient> plane_client;
  std::uint64_t told = 0;
};

TEST_F(BothSides, SendABlobInPiecesAndKnowItTheNextTime) {
  StartWith();
  auto sent = Send(blob);
  ASSERT_TRUE(sent) << sent.error().ToString();
  EXPECT_EQ(*sent, runner::BlobSent::kSent);
  EXPECT_EQ(told, blob.size());
  EXPECT_EQ((*plane)->OpenBlob(HashOf(blob))->bytes, blob.size());
  EXPECT_EQ(Send(blob).value(), runner::BlobSent::kKnown);
}

TEST_F(BothSides, GoOnWhereAnUploadEndedBeforeTheServerWasStartedAgain) {
  StartWith();
  ASSERT_EQ(Put(HashOf(blob), 0, blob.size(), blob.substr(0, 5u << 20), token).status, 202);
  server->Stop();
  server = plane::HttpServer::Start(**plane, real, {}).value();
  auto sent = Send(blob);
  ASSERT_TRUE(sent) << sent.error().ToString();
  EXPECT_EQ((*plane)->OpenBlob(HashOf(blob))->bytes, blob.size());
}

TEST_F(BothSides, FailCleanlyWhereAPartOnThePlaneIsDamaged) {
  StartWith();
  ASSERT_EQ(Put(HashOf(blob), 0, blob.size(), std::string(5u << 20, 'x'), token).status, 202);
  auto sent = Send(blob);
  ASSERT_FALSE(sent);
  EXPECT_FALSE((*plane)->OpenBlob(HashOf(blob)));
  auto again = Send(blob);
  ASSERT_TRUE(again) << "the damaged part is gone: " << again.error().ToString();
}

}  // namespace
}  // namespace writ::test
