// Planes that lie, break off, flood or answer for others: one clear line in the log, back-off with
// jitter, never a crash, never a run executed.
#include <algorithm>

#include "e2e/support/leased_world.h"
#include "unit/runner/raw_server.h"

namespace writ {
namespace {

using std::chrono::milliseconds;
using test::Eventually;
using test::FakeJobView;
using test::FakePlane;
using test::RawServer;

std::size_t Count(const std::string& text, const std::string& words) {
  std::size_t count = 0;
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1))
    ++count;
  return count;
}

std::string Json(std::string_view body) {
  return test::JsonAnswer(200, body);
}

// What a hostile plane says to a claim, byte for byte; it may go on until its peer has gone.
using Answering = std::function<void(RawServer::Connection&)>;
struct HostileAnswer {
  const char* name;
  const char* code;  // in the one line
  Answering answer;
};

Answering Bytes(std::string bytes) {
  return [bytes = std::move(bytes)](RawServer::Connection& c) { c.write(bytes); };
}
Answering Endless(std::string head, std::string again) {
  return [head = std::move(head), again = std::move(again)](RawServer::Connection& c) {
    if (!c.write(head)) return;
    while (c.write(again)) {
    }
  };
}

const std::vector<HostileAnswer>& HostileAnswers() {
  static const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
  static const std::vector<HostileAnswer> kAnswers = {
      {"numbers for texts", "plane.nonsense",
       Bytes(Json(R"({"runId":7,"contract":{},"claimToken":1,"events":[]})"))},
      {"a path for a run id", "plane.nonsense",
       Bytes(Json(R"({"runId":"../../etc","contract":{},"claimToken":"x","events":[]})"))},
      {"a text for a time", "plane.nonsense",
       Bytes(Json(R"({"offer":true,"runId":"r","contract":{},"claimToken":"x","events":[],)"
                  R"("offerMs":"soon"})"))},
      {"a list for a contract", "plane.nonsense",
       Bytes(Json(R"({"runId":"r","contract":[],"claimToken":"x","events":{}})"))},
      {"a member twice", "plane.nonsense", Bytes(Json(R"({"empty":true,"empty":false})"))},
      {"deeper than deep", "plane.nonsense", Bytes(Json(std::string(100'000, '[')))},
      {"no UTF-8", "plane.nonsense", Bytes(Json("{\"empty\":\"\xff\xfe\"}"))},
      {"a web page", "plane.nonsense",
       Bytes("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")},
      {"a redirect", "plane.nonsense",
       Bytes("HTTP/1.1 302 Found\r\nLocation: http://203.0.113.1/\r\nContent-Length: 0\r\n\r\n")},
      {"no HTTP at all", "plane.unreachable", Bytes("SSH-2.0-OpenSSH_9.2\r\n")},
      {"nothing", "plane.unreachable", Bytes("")},
      {"half an answer", "plane.unreachable",
       Bytes(kOk + "Content-Length: 1000\r\n\r\n{\"empty\"")},
      {"a body without end", "plane.too_large",
       Endless(kOk + "Content-Length: 99999999999\r\n\r\n", std::string(1 << 20, ' '))},
      {"chunks without end", "plane.timeout",
       Endless(kOk + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n")},
      {"headers without end", "plane.", Endless(kOk, "X-More: " + std::string(1000, 'x') + "\r\n")},
      {"a storm of 429", "plane.busy", Bytes(test::JsonAnswer(429, R"({"error":"slow"})"))},
      {"a storm of 500", "plane.refused", Bytes(test::JsonAnswer(500, R"({"error":"oops"})"))},
      {"a storm of 401", "plane.unauthorized", Bytes(test::JsonAnswer(401, R"({"error":"who?"})"))},
  };
  return kAnswers;
}

class HostilePlane : public test::LeasedWorld {
 protected:
  // Enrolled at the good plane; then everything goes to `url`.
  void EnrolThenTurnTo(const std::string& url) {
    ASSERT_TRUE(runner::Enroll(world_.config, Secret("testkit-enroll-token"), clock_));
    world_.config.plane.url = url;
    world_.config.call_timeout = milliseconds(400);
  }
};

class HostileClaim : public HostilePlane, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(HostileClaim, IsOneLineInTheLogAndNoRun) {
  const HostileAnswer& hostile = HostileAnswers()[GetParam()];
  SCOPED_TRACE(hostile.name);
  std::atomic<int> claims{0};
  RawServer server(RawServer::Security::kPlain, [&](RawServer::Connection& c) {
    if (c.request.find("/v1/health") != std::string::npos) {
      c.write(Json(R"({"ok":true,"extensions":["writ.1"]})"));
      return;
    }
    ++claims;
    hostile.answer(c);
  });
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  EnrolThenTurnTo(server.url());
  // What ends by its size must not end by a loaded machine's time first.
  if (hostile.code == std::string_view("plane.too_large"))
    world_.config.call_timeout = std::chrono::seconds(20);
  runner::Engine& engine = world_.Open();
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(engine.Start());
  const bool again = Eventually([&] { return claims >= 3; });
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(again) << "it must go on asking";
  EXPECT_EQ(Count(log, "warn runner.claim:"), 1u) << log;
  EXPECT_NE(log.find(std::string("code=") + hostile.code), std::string::npos) << log;
  EXPECT_EQ(backend.prepared, 0);
  EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Answers, HostileClaim,
                         ::testing::Range(std::size_t{0}, HostileAnswers().size()));

TEST_F(HostilePlane, WithAnUntrustedCertificateIsNeverAskedForARun) {
  std::atomic<int> requests{0};
  RawServer server(RawServer::Security::kTls, [&](RawServer::Connection& c) {
    if (!c.request.empty()) ++requests;
  });
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  EnrolThenTurnTo(server.url());
  world_.config.call_timeout = std::chrono::seconds(20);  // what ends a call is the certificate
  runner::Engine& engine = world_.Open();
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(engine.Start());
  const bool tried = Eventually([&] { return server.connections() >= 3; });
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(tried);
  EXPECT_EQ(requests, 0);
  EXPECT_EQ(Count(log, "warn runner.claim:"), 1u) << log;
  EXPECT_NE(log.find("code=plane.tls"), std::string::npos) << log;
}

// Contracts that are not for us end in a signed refusal, and nothing of them is touched (L1).
TEST_F(HostilePlane, WhoseContractIsForeignGetsASignedRefusal) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  protocol::Contract other_pool = Draft("run_pool");
  other_pool.pool = protocol::PoolName::Parse("elsewhere").value();
  plane_.Add(std::move(other_pool));
  plane_.AddSealed(Draft("run_key"), protocol::PrivateKey::Generate());
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.max_runs = 2}));
  engine.Wait();
  EXPECT_EQ(LastEvent("run_pool", "failure"), "policy_denied");
  EXPECT_EQ(LastEvent("run_key", "failure"), "attestation_failed");
  for (const char* run : {"run_pool", "run_key"}) EXPECT_EQ(plane_.Get(run).completions, 1) << run;
  EXPECT_EQ(backend.prepared, 0);
}

// Answers to an acknowledgement: the run is given back where they cannot be read, and refused
// where they are of another chain.
TEST_F(HostilePlane, ThatAcknowledgesWithAnotherRunOrChainRunsNothing) {
  protocol::EventChain foreign(protocol::Sha256("another contract"));
  json::Array events{foreign.Append(clock_.Now(), json::Object{{"type", "run.created"}}).ToJson()};
  const std::string other_chain =
      json::Write(json::Object{{"events", events}, {"leaseMs", 1000}, {"renewAfterMs", 100}});
  json::Array broken = events;
  broken.push_back(events[0]);
  const std::string no_chain = json::Write(json::Object{{"events", broken}});
  const std::pair<const char*, std::string> answers[] = {
      {"another run", R"({"runId":"run_other","events":[],"leaseMs":1000})"},
      {"no events", R"({"leaseMs":1000})"},
      {"secrets of a bad name", R"({"events":[],"secrets":[{"name":"a b","value":"v"}]})"},
      {"a lease of texts", R"({"events":[],"leaseMs":"long"})"},
      {"another chain", other_chain},
      {"events that do not chain", no_chain},
      {"an empty chain", R"({"events":[]})"},
  };
  int number = 0;
  for (const auto& [name, answer] : answers) {
    SCOPED_TRACE(name);
    FakePlane plane(clock_, FakePlane::Dialect::kLeased);
    FakePlane::LoadRecordedBlobs(plane);
    test::RunnerWorld world(plane, clock_);
    test::FakeBackend& backend = world.AddFake([](FakeJobView&) { return test::Exited(0); });
    plane.SetFault([body = answer](const std::string&,
                                   const std::string& path) -> std::optional<FakePlane::Answer> {
      if (path.ends_with("/acknowledge")) return FakePlane::Answer{200, body};
      return std::nullopt;
    });
    const std::string run_id = "run_ack" + std::to_string(number++);
    plane.Add(plane.Draft(run_id));
    (void)world.Open().RunOnce(milliseconds(0));
    EXPECT_EQ(backend.prepared, 0);
    FakePlane::Run run = plane.Get(run_id);
    EXPECT_TRUE(run.events.empty() || run.events.back().type() != "run.completed");
  }
}

// Absurd times are clamped: the lease is neither let go nor asked for without a pause.
TEST_F(HostilePlane, WhoseLeaseHasAbsurdNumbersNeitherLosesTheRunNorIsFlooded) {
  for (const char* times :
       {R"("leaseMs":-5,"renewAfterMs":-1)", R"("leaseMs":1e300,"renewAfterMs":1e300)",
        R"("leaseMs":0.0001,"renewAfterMs":0)", R"("leaseMs":"x")", R"("renewAfterMs":[])",
        R"("claimToken":7,"cancelRequested":"yes")", ""}) {
    SCOPED_TRACE(times);
    FakePlane plane(clock_, FakePlane::Dialect::kLeased);
    FakePlane::LoadRecordedBlobs(plane);
    test::RunnerWorld world(plane, clock_);
    std::atomic<int> renewals{0};
    plane.SetLease({.lease_ms = 1000, .renew_after_ms = 100});
    plane.SetFault(
        [&, times = std::string(times)](
            const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
          if (!path.ends_with("/lease")) return std::nullopt;
          ++renewals;
          return FakePlane::Answer{200, "{" + times + "}"};
        });
    world.AddFake([&](FakeJobView&) {
      EXPECT_TRUE(Eventually([&] { return renewals >= 1; }));
      return test::Exited(0);
    });
    plane.Add(plane.Draft("run_times"));
    ASSERT_TRUE(world.RunOne());
    EXPECT_EQ(plane.Get("run_times").completions, 1);
    EXPECT_EQ(plane.Get("run_times").receipt.FindString("status"), "completed");
    EXPECT_LT(renewals, 100);
  }
}

// A wall clock that is set back a day while the run is in work.
TEST(HostileClock, ThatJumpsBackLeavesAValidChain) {
  class Jumping final : public Clock {
   public:
    WallTime Now() const override { return system_.Now() + milliseconds(shift); }
    std::chrono::nanoseconds Monotonic() const override { return system_.Monotonic(); }
    std::atomic<std::int64_t> shift{0};

   private:
    SystemClock system_;
  } clock;
  SystemClock steady;
  FakePlane plane(steady, FakePlane::Dialect::kLeased);
  FakePlane::LoadRecordedBlobs(plane);
  test::RunnerWorld world(plane, clock);
  world.AddFake([&](FakeJobView&) {
    clock.shift = -86'400'000;
    return test::Exited(0);
  });
  plane.Add(plane.Draft("run_jump"));
  ASSERT_TRUE(world.RunOne());
  FakePlane::Run run = plane.Get("run_jump");
  EXPECT_EQ(run.completions, 1);
  EXPECT_EQ(run.receipt.FindString("status"), "completed");
  EXPECT_TRUE(std::is_sorted(run.events.begin(), run.events.end(),
                             [](const auto& a, const auto& b) { return a.ts < b.ts; }));
}

}  // namespace
}  // namespace writ
