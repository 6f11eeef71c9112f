// Blobs in pieces, to planes that have the call, lose their memory, talk nonsense, or lack it.
#include <gtest/gtest.h>

#include "unit/runner/raw_server.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
using test::JsonAnswer;
using test::RawServer;

std::string Head(int status, const std::string& header = "") {
  return "HTTP/1.1 " + std::to_string(status) + " x\r\n" + header +
         "Content-Length: 0\r\nConnection: close\r\n\r\n";
}

class Upload : public ::testing::Test {
 protected:
  // `piece(offset, bytes)` answers a PUT.
  void Serve(std::string head, std::function<std::string(std::uint64_t, std::string_view)> piece) {
    server_ = std::make_unique<RawServer>(RawServer::Security::kPlain, [=, this](auto& c) {
      const std::string& request = c.request;
      const std::string line = request.substr(0, request.find("\r\n"));
      lines_.push_back(line.substr(0, line.find(' ')));
      const std::string body = request.substr(request.find("\r\n\r\n") + 4);
      if (line.starts_with("HEAD")) {
        c.write(head);
      } else if (line.starts_with("PUT")) {
        const std::size_t at = line.find("offset=");
        c.write(piece(std::stoull(line.substr(at + 7)), body));
      } else {
        whole_ = body;
        c.write(JsonAnswer(200, "{\"hash\":\"" + protocol::Sha256(body).ToHex() + "\"}"));
      }
    });
    plane_.emplace(PlaneClient::Open({.url = server_->url()}, clock_).value());
  }
  Result<BlobSent> Send(std::string_view bytes) {
    return plane_->SendBlob(bytes, protocol::Sha256(bytes), token_,
                            [this](std::uint64_t more) { told_ += more; },
                            Deadline::After(clock_, milliseconds(30'000)), {});
  }
  static std::string At(int status, std::uint64_t offset) {
    return JsonAnswer(status, "{\"offset\":" + std::to_string(offset) + "}");
  }
  std::string Stored() {
    return JsonAnswer(201, "{\"hash\":\"" + protocol::Sha256(stored_).ToHex() + "\"}");
  }
  const std::string blob_ = std::string(20u << 20, 'b') + "end";
  SystemClock clock_;
  std::vector<std::string> lines_;
  std::string whole_, stored_;
  std::uint64_t told_ = 0;
  std::unique_ptr<RawServer> server_;
  std::optional<PlaneClient> plane_;
  Secret token_{"claim-token-text"};
};

TEST_F(Upload, SendsNothingThatThePlaneHas) {
  Serve(Head(200), [](auto, auto) { return Head(500); });
  auto sent = Send(blob_);
  ASSERT_TRUE(sent) << sent.error().ToString();
  EXPECT_EQ(*sent, BlobSent::kKnown);
  EXPECT_EQ(lines_, std::vector<std::string>{"HEAD"});
}

TEST_F(Upload, GoesOnWhereAnEarlierAttemptEnded) {
  stored_ = blob_.substr(0, 5u << 20);
  Serve(Head(404, "Writ-Upload-Offset: " + std::to_string(stored_.size()) + "\r\n"),
        [this](std::uint64_t offset, std::string_view bytes) {
          if (offset != stored_.size()) return At(409, stored_.size());
          stored_ += bytes;
          return stored_.size() == blob_.size() ? Stored() : At(202, stored_.size());
        });
  auto sent = Send(blob_);
  ASSERT_TRUE(sent) << sent.error().ToString();
  EXPECT_EQ(stored_, blob_);
  EXPECT_EQ(told_, blob_.size());
  EXPECT_EQ(lines_.size(), 3u);  // HEAD, and two pieces
}

TEST_F(Upload, IsStoredOnlyWhereThePlaneNamesItsHash) {  // L15
  for (const char* answer : {"{}", "[]", R"({"hash":"aa"})"}) {
    stored_.clear();
    Serve(Head(404), [&](std::uint64_t, std::string_view) { return JsonAnswer(201, answer); });
    EXPECT_FALSE(Send(blob_)) << answer;
  }
}

TEST_F(Upload, BeginsAgainWhereThePlaneHasLostItsPart) {
  bool lost = false;
  Serve(Head(404), [&](std::uint64_t offset, std::string_view bytes) {
    if (!lost && offset > 0) {
      lost = true;
      stored_.clear();
    }
    if (offset != stored_.size()) return At(409, stored_.size());
    stored_ += bytes;
    return stored_.size() == blob_.size() ? Stored() : At(202, stored_.size());
  });
  ASSERT_TRUE(Send(blob_));
  EXPECT_TRUE(lost);
  EXPECT_EQ(stored_, blob_);
}

TEST_F(Upload, FallsBackToOnePostWherePlanesLackTheCall) {
  for (int status : {404, 405}) {
    Serve(Head(status), [&](auto, auto) { return Head(status); });
    auto sent = Send(blob_);
    ASSERT_TRUE(sent) << sent.error().ToString();
    EXPECT_EQ(whole_, blob_);
    EXPECT_EQ(lines_.back(), "POST");
    lines_.clear();
    ASSERT_TRUE(Send(blob_));
    EXPECT_EQ(lines_, std::vector<std::string>{"POST"}) << "it is not asked for again";
    lines_.clear();
  }
}

TEST_F(Upload, EndsWithAPlaneThatDoesNotComeForwardOrTalksNonsense) {
  Serve(Head(404), [](auto, auto) { return At(409, 0); });
  EXPECT_FALSE(Send(blob_));
  EXPECT_LT(lines_.size(), 20u);
  Serve(Head(404), [](auto, auto) { return At(202, std::uint64_t{1} << 40); });
  EXPECT_FALSE(Send(blob_));
  Serve(Head(404, "Writ-Upload-Offset: 99999999999999\r\n"),
        [](auto, auto) { return JsonAnswer(202, "{\"offset\":-1}"); });
  EXPECT_FALSE(Send(blob_));
  Serve(Head(404), [](auto, auto) { return JsonAnswer(400, "{\"code\":\"blob_hash\"}"); });
  EXPECT_FALSE(Send(blob_));
}

}  // namespace
}  // namespace writ::runner
