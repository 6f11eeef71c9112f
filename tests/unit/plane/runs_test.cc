// Runs on a plane without HTTP: claims, secrets, submission, retention, live output.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "test_plane.h"
#include "writ/base/sqlite/database.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using plane::Submission;
using std::chrono::milliseconds;

constexpr milliseconds kNoWait{0};

TEST(Runs, ACompletedRunsBundleVerifiesOfflineUnderPinnedKeys) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = RunToCompletion(plane, runner);
  protocol::VerifyOptions pins;
  pins.plane_key = protocol::PublicKey::FromPem(plane->public_key_pem()).value();
  pins.runner_key = runner.key.Public();
  pins.require_pinned = true;
  auto report = protocol::VerifyBundle(plane->Bundle(run).value(), pins);
  EXPECT_TRUE(report.ok) << json::WritePretty(protocol::RenderJson(report));
  auto listed = plane->Runs().value();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].status, plane::RunState::kCompleted);
  EXPECT_TRUE(listed[0].has_receipt);
}

TEST(Runs, AreStillThereAfterTheDirectoryIsOpenedAgain) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = RunToCompletion(plane, runner);
  auto before = plane->Bundle(run).value();
  plane.Reopen();
  EXPECT_EQ(plane->Bundle(run).value(), before);
}

TEST(Claims, EachRunGoesToExactlyOneOfManyClaimers) {
  TestPlane plane;
  std::vector<std::unique_ptr<TestRunner>> runners;
  for (int i = 0; i < 6; ++i) runners.push_back(std::make_unique<TestRunner>(*plane, plane.local));
  std::set<std::string> submitted;
  for (int i = 0; i < 40; ++i) submitted.insert(Submit(plane));
  std::mutex mutex;
  std::multiset<std::string> claimed;
  std::vector<std::thread> threads;
  for (auto& runner : runners) {
    threads.emplace_back([&] {
      for (;;) {
        auto claim = plane->Claim(runner->token, "default", kNoWait);
        ASSERT_TRUE(claim) << claim.error().ToString();
        if (!*claim) return;
        std::lock_guard lock(mutex);
        claimed.insert((*claim)->run_id);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::multiset<std::string>(submitted.begin(), submitted.end()), claimed);
}

TEST(Claims, ComeInTheOrderOfTheRequestsAndOnlyFromTheRunnersPool) {
  TestPlane plane(SecretPolicy());
  TestRunner runner(*plane, plane.local, "default");
  TestRunner other(*plane, plane.local, "other");
  auto first = Submit(plane);
  auto second = Submit(plane);
  EXPECT_FALSE(plane->Claim(other.token, "other", kNoWait).value());
  EXPECT_EQ(Claimed(plane, runner).run_id, first);
  EXPECT_EQ(Claimed(plane, runner).run_id, second);
  auto wrong = plane->Claim(runner.token, "other", kNoWait);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, "unauthorized");
}

TEST(Claims, AWaitingClaimGetsARunAsSoonAsThereIsOne) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  std::optional<plane::Claim> got;
  std::thread waiting([&] {
    auto claim = plane->Claim(runner.token, "default", std::chrono::seconds(20));
    if (claim && *claim) got = std::move(**claim);
  });
  auto run = Submit(plane);
  waiting.join();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->run_id, run);
}

// L40: a runner that has left its long poll is given nothing; the next one gets the run.
TEST(Claims, ARunIsNeverGivenToARunnerThatHasLeft) {
  TestPlane plane;
  TestRunner gone(*plane, plane.local);
  TestRunner there(*plane, plane.local);
  auto run = Submit(plane);
  auto nothing = plane->Claim(gone.token, "default", kNoWait, [] { return true; });
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(*nothing);
  EXPECT_EQ(plane->Run(run)->summary.status, protocol::RunState::kCreated);
  auto claim = plane->Claim(there.token, "default", kNoWait, [] { return false; });
  ASSERT_TRUE(claim && *claim);
  EXPECT_EQ((*claim)->run_id, run);
}

TEST(Runs, ARequesterSeesAndCancelsItsOwnOnly) {
  TestPlane plane;
  auto run = Submit(plane);  // the owner's
  plane::Caller other{"other", {plane::Role::kRequester}};
  plane::Caller approver{"approver", {plane::Role::kApprover}};
  EXPECT_EQ(plane->MaySee(other, run).error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(plane->MaySee(approver, run));
  EXPECT_TRUE(plane->MaySee(plane.local, run));
  EXPECT_TRUE(plane->Runs(other.name)->empty());
  EXPECT_EQ(plane->Runs("owner")->size(), 1u);
  EXPECT_EQ(plane->Cancel(other, run, std::nullopt).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(plane->Run(run)->summary.status, protocol::RunState::kCreated);
  EXPECT_TRUE(plane->Cancel(plane.local, run, std::nullopt));
}

TEST(Submitting, TheContractNamesThePrincipalWhateverTheClientSays) {
  TestPlane plane;
  plane::Caller ci{"ci", {plane::Role::kRequester}};
  auto submit = [&](const plane::Caller& caller, std::optional<Object> who) {
    Object request = RunBody(*plane).Find("request")->object();
    Object body;
    if (who) request.Set("requestedBy", *who);
    body.Set("request", request);
    return plane->Submit(caller, json::Write(json::Value(body)));
  };
  auto asker = [&](const Result<Submission>& made) {
    const auto detail = plane->Run(made->run_id).value();
    const auto contract = json::Parse(detail.contract).value();
    EXPECT_EQ(*contract.Find("requestedBy"), detail.summary.requested_by.ToJson());
    return json::Write(*contract.Find("requestedBy"));
  };
  auto another = submit(ci, Object{{"kind", "human"}, {"id", "boss"}});
  ASSERT_FALSE(another);
  EXPECT_EQ(another.error().kind, ErrorKind::kDenied);
  EXPECT_EQ(another.error().code, "forbidden");
  EXPECT_NE(another.error().message.find("you are \"ci\""), std::string::npos);
  EXPECT_TRUE(plane->Runs()->empty());
  EXPECT_EQ(asker(submit(ci, std::nullopt)), R"({"kind":"service","id":"ci"})");
  EXPECT_EQ(asker(submit(ci, Object{{"kind", "human"}, {"id", "ci"}})),
            R"({"kind":"human","id":"ci"})");
  EXPECT_EQ(plane->Runs("ci")->size(), 2u);
  // An administrator may ask for somebody; the principal is recorded beside it.
  EXPECT_EQ(asker(submit(plane.local, Object{{"kind", "human"}, {"id", "boss"}})),
            R"({"kind":"human","id":"boss"})");
  EXPECT_EQ(asker(submit(plane.local, std::nullopt)), R"({"kind":"human","id":"owner"})");
  EXPECT_EQ(plane->Runs("owner")->size(), 2u);
}

TEST(Claims, ARevokedRunnerGetsNothingAndItsTokensEnd) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  Submit(plane);
  auto claim = Claimed(plane, runner);
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  EXPECT_EQ(plane->Claim(runner.token, "default", kNoWait).error().code, "runner.revoked");
  EXPECT_EQ(plane->AppendEvents(claim.run_id, claim.claim_token, finished.events).error().code,
            "runner.revoked");
  EXPECT_FALSE(plane->AuthenticateClaim(claim.claim_token));
}

TEST(Secrets, AreReleasedAtTheClaimWithOneEventEachAndNeverStoredOpen) {  // L8
  TestPlane plane(SecretPolicy());
  const std::string value = "s3cr3t-value-of-a-test";
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret(value)));
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane, {.secrets = {"TOKEN"}});
  auto claim = Claimed(plane, runner);
  ASSERT_EQ(claim.secrets.size(), 1u);
  EXPECT_EQ(claim.secrets[0].value.Reveal(), value);
  EXPECT_EQ(EventTypes(plane, run), (std::vector<std::string>{"run.created", "policy.evaluated",
                                                              "run.claimed", "secret.released"}));
  plane.Close();
  for (const auto& file : std::filesystem::recursive_directory_iterator(plane.dir())) {
    if (file.is_regular_file()) {
      EXPECT_EQ(ReadText(file.path()).find(value), std::string::npos) << file.path();
    }
  }
  plane.Reopen();
  EXPECT_EQ(plane->Secrets()->front().name, "TOKEN");
}

// Killed: gone, or a zombie that its new parent has still to collect.
bool AwaitGone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string id, name, state;
    if (!(in >> id >> name >> state) || state == "Z" || state == "X") return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

TEST(Secrets, ComeFromAFileTheEnvironmentOrAnExecutableWithADeadline) {  // L44
  TestPlane plane(SecretPolicy());
  TestRunner runner(*plane, plane.local);
  auto released = [&](const plane::SecretSource& source) -> std::string {
    auto set = plane->SetSecretSource(plane.local, "TOKEN", "pool:default", source);
    EXPECT_TRUE(set) << (set ? "" : set.error().ToString());
    auto run = Submit(plane, {.secrets = {"TOKEN"}});
    auto claim = plane->Claim(runner.token, "default", kNoWait);
    EXPECT_TRUE(claim);
    if (claim && *claim) return std::string((*claim)->secrets.at(0).value.Reveal());
    return "failed: " + plane->Run(run)->summary.failure;
  };
  using Kind = plane::SecretSource::Kind;
  WriteText(plane.dir() + "/token", "from a file\n");
  EXPECT_EQ(released({.kind = Kind::kFile, .location = plane.dir() + "/token", .args = {}}),
            "from a file");
  ::setenv("WRIT_TEST_SECRET", "from the environment", 1);
  EXPECT_EQ(released({.kind = Kind::kEnvironment, .location = "WRIT_TEST_SECRET", .args = {}}),
            "from the environment");
  EXPECT_EQ(released({.kind = Kind::kExecutable, .location = "/bin/echo", .args = {"$(id)"}}),
            "$(id)");
  EXPECT_EQ(released({.kind = Kind::kExecutable, .location = "/bin/false", .args = {}}),
            "failed: secret \"TOKEN\": the secret's executable ended with status 1");
  EXPECT_EQ(released({.kind = Kind::kExecutable,
                      .location = "/bin/sleep",
                      .args = {"60"},
                      .deadline = milliseconds(100)}),
            "failed: secret \"TOKEN\": the secret's executable did not end within 100 ms");
  // What a program has started goes with it, whether it is late or has ended.
  for (const char* then : {"; sleep 60", ""}) {
    const std::string started = plane.dir() + "/started" + std::to_string(*then != '\0');
    const std::string script =
        "sleep 600 >/dev/null & echo $! > " + started + "; echo value" + then;
    (void)released({.kind = Kind::kExecutable,
                    .location = "/bin/sh",
                    .args = {"-c", script},
                    .deadline = milliseconds(*then != '\0' ? 300 : 20'000)});
    std::ifstream in(started);
    pid_t left = 0;
    ASSERT_TRUE(in >> left);
    EXPECT_TRUE(AwaitGone(left)) << then;
  }
  EXPECT_EQ(released({.kind = Kind::kExecutable,
                      .location = "/usr/bin/head",
                      .args = {"-c", "100000", "/dev/zero"}}),
            "failed: secret \"TOKEN\": the secret's executable wrote more than 64 KiB");
  EXPECT_EQ(released({.kind = Kind::kFile, .location = plane.dir() + "/gone", .args = {}}),
            "failed: secret \"TOKEN\": the secret's file cannot be read");
}

TEST(Secrets, ARunWhoseSecretIsNoLongerReleasableEndsInsteadOfGettingIt) {
  TestPlane plane(SecretPolicy());
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret("value")));
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane, {.secrets = {"TOKEN"}});
  ASSERT_TRUE(plane->SetPolicy(plane.local, plane::DefaultPolicy()));
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
  auto detail = plane->Run(run).value();
  EXPECT_EQ(detail.summary.status, plane::RunState::kFailed);
  EXPECT_NE(detail.events.back().find("secret_release_denied"), std::string::npos);
}

TEST(Secrets, ASealedValueMovedToAnotherNameDoesNotOpen) {
  TestPlane plane(SecretPolicy());
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret("its own")));
  ASSERT_TRUE(plane->SetSecret(plane.local, "OTHER", "pool:default", Secret("of another")));
  auto run = Submit(plane, {.secrets = {"TOKEN"}});
  plane.Close();
  {
    auto db =
        sqlite::Database::Open(plane.dir() + "/plane/state.db", sqlite::Database::Mode::kReadWrite);
    ASSERT_TRUE(db);
    ASSERT_TRUE((*db)->Do("DELETE FROM secrets WHERE name = 'TOKEN'"));
    ASSERT_EQ((*db)->Run("UPDATE secrets SET name = 'TOKEN'").value(), 1);
  }
  plane.Reopen();
  TestRunner runner(*plane, plane.local);
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
  EXPECT_NE(plane->Run(run)->summary.failure.find("does not open"), std::string::npos);
}

TEST(Secrets, ThatNoJobCanBeGivenAreRefusedWhenTheyAreSet) {
  TestPlane plane(SecretPolicy());
  auto code = [&](const std::string& name, std::string_view value) {
    auto set = plane->SetSecret(plane.local, name, "pool:default", Secret(value));
    if (set) return std::string("set");
    EXPECT_FALSE(set.error().hint.empty());
    EXPECT_EQ(set.error().kind, ErrorKind::kInvalid);
    return set.error().code;
  };
  for (const char* name : {"PATH", "LD_PRELOAD", "HTTP_PROXY", "https_proxy", "WRIT_X", "HOME"}) {
    EXPECT_EQ(code(name, "long enough"), "secret.reserved_name") << name;
    auto source = plane->SetSecretSource(
        plane.local, name, "pool:default",
        {.kind = plane::SecretSource::Kind::kEnvironment, .location = "X", .args = {}});
    EXPECT_EQ(source ? "set" : source.error().code, "secret.reserved_name") << name;
  }
  EXPECT_EQ(code("TOKEN", std::string_view("with\0nul", 8)), "secret.nul");
  EXPECT_EQ(code("TOKEN", "abc"), "secret.too_short");
  EXPECT_EQ(code("TOKEN", std::string(65537, 'x')), "secret.too_large");
  EXPECT_EQ(code("TOKEN", "not \xff text"), "secret.not_text");
  EXPECT_TRUE(plane->Secrets()->empty());
  EXPECT_EQ(code("TOKEN", "abcd"), "set");
}

TEST(Secrets, ThatNoJobCanBeGivenAreUnmetWhereverTheyComeFrom) {
  Object policy = json::Parse(SecretPolicy()).value().object();
  policy.Set("secrets",
             Object{{"releasable", json::Array{Object{{"name", "TOKEN"},
                                                      {"scope", "pool:default"},
                                                      {"pools", json::Array{"default"}}},
                                               Object{{"name", "PATH"},
                                                      {"scope", "pool:default"},
                                                      {"pools", json::Array{"default"}}}}}});
  TestPlane plane(json::Write(json::Value(policy)));
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret("value")));
  plane.Close();
  {  // A store from before the rule.
    auto db =
        sqlite::Database::Open(plane.dir() + "/plane/state.db", sqlite::Database::Mode::kReadWrite);
    ASSERT_TRUE(db);
    ASSERT_TRUE((*db)->Do(
        "INSERT INTO secrets (name, scope, source, sealed, updated_at) SELECT 'PATH', scope, "
        "source, sealed, updated_at FROM secrets"));
  }
  plane.Reopen();
  WriteText(plane.dir() + "/short", "x\n");
  ASSERT_TRUE(plane->SetSecretSource(
      plane.local, "TOKEN", "pool:default",
      {.kind = plane::SecretSource::Kind::kFile, .location = plane.dir() + "/short", .args = {}}));
  for (const auto& [name, why] :
       {std::pair{"PATH", "belongs to the launcher"}, std::pair{"TOKEN", "shorter than 4 bytes"}}) {
    Object body = RunBody(*plane, {.secrets = {name}}).object();
    EXPECT_EQ(plane->Submit(plane.local, json::Write(json::Value(body)))->kind,
              Submission::Kind::kInvalid);
    body.Set("dryRun", true);
    const json::Value report =
        json::Parse(plane->Submit(plane.local, json::Write(json::Value(body)))->report).value();
    ASSERT_NE(report.Find("unmet"), nullptr) << name;
    EXPECT_NE(json::Write(*report.Find("unmet")).find(why), std::string::npos) << name;
  }
}

TEST(Submitting, ADryRunMovesNothing) {
  TestPlane plane;
  Object body = RunBody(*plane).object();
  body.Set("dryRun", true);
  auto report = plane->Submit(plane.local, json::Write(json::Value(body)));
  EXPECT_EQ(report->kind, Submission::Kind::kDryRun);
  EXPECT_TRUE(plane->Runs()->empty());
}

TEST(Submitting, NeedsTheWorkspacesBlobsAndTheSecretsValues) {
  TestPlane plane(SecretPolicy());
  auto missing_secret =
      plane->Submit(plane.local, json::Write(RunBody(*plane, {.secrets = {"TOKEN"}})));
  ASSERT_EQ(missing_secret->kind, Submission::Kind::kInvalid);
  EXPECT_EQ(missing_secret->pointer, "/request/secretNames/0");
  // A dry run says so beforehand.
  Object dry = RunBody(*plane, {.secrets = {"TOKEN"}}).object();
  dry.Set("dryRun", true);
  auto report = plane->Submit(plane.local, json::Write(json::Value(dry)));
  ASSERT_EQ(report->kind, Submission::Kind::kDryRun);
  const json::Value told = json::Parse(report->report).value();
  ASSERT_NE(told.Find("unmet"), nullptr);
  EXPECT_NE(json::Write(*told.Find("unmet")).find("TOKEN"), std::string::npos);
  Object body = RunBody(*plane).object();
  Object request = body.Find("request")->object();
  Object workspace = request.Find("workspace")->object();
  workspace.Set("bundleHash", std::string(64, '9'));
  request.Set("workspace", workspace);
  body.Set("request", request);
  auto missing_blob = plane->Submit(plane.local, json::Write(json::Value(body)));
  ASSERT_EQ(missing_blob->kind, Submission::Kind::kInvalid);
  EXPECT_EQ(missing_blob->pointer, "/request/workspace/bundleHash");
}

TEST(Submitting, IsLimitedPerPrincipalAgentAndPoolAcrossRestarts) {
  plane::Config config;
  config.per_principal = plane::RateLimit{6, 2};
  TestPlane plane("", config);
  Submit(plane);
  Submit(plane);
  plane.Reopen();
  auto third = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind, ErrorKind::kOverloaded);
  EXPECT_EQ(third.error().hint, "retry after 10 s");
  plane::Caller other{"other", {plane::Role::kRequester}};
  EXPECT_TRUE(plane->Submit(other, json::Write(RunBody(*plane))));
  plane.clock.Advance(std::chrono::seconds(10));
  Submit(plane);
  for (auto member : {&plane::Config::per_agent, &plane::Config::per_pool}) {
    plane::Config one;
    one.*member = plane::RateLimit{1, 1};
    TestPlane limited("", one);
    Submit(limited);
    EXPECT_EQ(limited->Submit(limited.local, json::Write(RunBody(*limited))).error().kind,
              ErrorKind::kOverloaded);
    EXPECT_EQ(limited->Submit(other, json::Write(RunBody(*limited))).error().kind,
              ErrorKind::kOverloaded);
  }
}

TEST(Submitting, ALimitOutlivesAClockThatWasSetBack) {  // L42
  plane::Config config;
  config.per_principal = plane::RateLimit{6, 2};
  TestPlane plane("", config);
  plane.clock.Advance(std::chrono::hours(1));
  Submit(plane);
  plane.clock.Advance(-std::chrono::hours(1));
  Submit(plane);  // not an hour from now
  EXPECT_EQ(plane->Submit(plane.local, json::Write(RunBody(*plane))).error().hint,
            "retry after 10 s");
  plane.clock.Advance(std::chrono::seconds(10));
  Submit(plane);
}

TEST(Submitting, APolicyFileThatIsDamagedStopsEverythingThatNeedsIt) {  // L4
  TestPlane plane;
  plane.SetPolicyText("{\"version\":\"warrant.policy.v1\"");
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kUnavailable);
  EXPECT_FALSE(plane->Ready());
  plane.SetPolicyText(plane::DefaultPolicy());
  EXPECT_TRUE(plane->Ready());
  Submit(plane);
}

TEST(Retention, ForgetsReceiptsAndBlobsAfterTheirTermsAndRecordsIt) {
  TestPlane plane;
  plane.clock.SetWall(SystemClock().Now());
  TestRunner runner(*plane, plane.local);
  auto run = RunToCompletion(plane, runner);
  auto bundle_hash = plane->PutBlob("a git bundle").value();
  plane.clock.Advance(std::chrono::hours(24 * 91));
  ASSERT_TRUE(plane->Sweep());
  EXPECT_FALSE(plane->OpenBlob(bundle_hash)) << "artifacts go after 90 days";
  EXPECT_TRUE(plane->Bundle(run)) << "receipts stay for 365";
  plane.clock.Advance(std::chrono::hours(24 * 275));
  ASSERT_TRUE(plane->Sweep());
  EXPECT_EQ(plane->Run(run).error().kind, ErrorKind::kNotFound);
  std::string exported;
  ASSERT_TRUE(plane->Export({}, [&](std::string_view line) -> Status {
    exported += line;
    exported += '\n';
    return {};
  }));
  EXPECT_NE(exported.find("\"blobsRemoved\":[\"" + bundle_hash), std::string::npos);
  EXPECT_NE(exported.find("\"runsRemoved\":[\"" + run), std::string::npos);
}

TEST(Retention, SparesBlobsThatAYoungerRunNames) {
  TestPlane plane;
  plane.clock.SetWall(SystemClock().Now());
  TestRunner runner(*plane, plane.local);
  RunToCompletion(plane, runner);
  plane.clock.Advance(std::chrono::hours(24 * 91));
  auto young = Submit(plane);  // the same bundle
  ASSERT_TRUE(plane->Sweep());
  EXPECT_TRUE(plane->OpenBlob(plane->PutBlob("a git bundle").value()));
  EXPECT_EQ(Claimed(plane, runner).run_id, young);
}

TEST(LiveLog, IsBoundedResumableAndOnlyForRunsThatMayDiscloseIt) {
  constexpr plane::LogStream kOutput = plane::LogStream::kOutput;
  plane::Config config;
  config.max_log_bytes = 10;
  TestPlane plane("", config);
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto claim = Claimed(plane, runner);
  EXPECT_EQ(plane->AppendLog(run, claim.claim_token, kOutput, 0, "hello")->size, 5u);
  EXPECT_EQ(plane->AppendLog(run, claim.claim_token, kOutput, 3, "lo wo")->size, 8u)
      << "what is there is skipped";
  EXPECT_EQ(plane->AppendLog(run, claim.claim_token, kOutput, 9, "x").error().kind,
            ErrorKind::kConflict)
      << "a gap";
  EXPECT_EQ(plane->LogSize(run, kOutput).value(), 8u) << "where to go on from";
  constexpr plane::LogStream kStderr = plane::LogStream::kStderr;
  EXPECT_EQ(plane->AppendLog(run, claim.claim_token, kStderr, 0, "oh")->size, 2u)
      << "each stream has offsets of its own";
  EXPECT_EQ(plane->ReadLog(run, kStderr, 0, kNoWait)->bytes, "oh");
  auto full = plane->AppendLog(run, claim.claim_token, kOutput, 8, "rld and more").value();
  EXPECT_TRUE(full.truncated);
  EXPECT_EQ(full.size, 10u);
  EXPECT_EQ(plane->ReadLog(run, kOutput, 2, kNoWait)->bytes, "llo worl");
  EXPECT_FALSE(plane->ReadLog(run, kOutput, 2, kNoWait)->complete);
  auto silent = Submit(plane, {.extra = {{"disclosure", "metadata-only"}}});
  auto quiet = Claimed(plane, runner);
  EXPECT_EQ(plane->AppendLog(silent, quiet.claim_token, kOutput, 0, "x").error().code, "forbidden");
  constexpr plane::LogStream kProgress = plane::LogStream::kProgress;
  EXPECT_EQ(plane->AppendLog(silent, quiet.claim_token, kProgress, 0, "{}\n")->size, 3u)
      << "sizes are metadata";
  auto none = Submit(plane, {.extra = {{"disclosure", "none"}}});
  auto mute = Claimed(plane, runner);
  EXPECT_EQ(plane->AppendLog(none, mute.claim_token, kProgress, 0, "{}\n").error().code,
            "forbidden");
}

TEST(Waiting, ForARunReturnsWithItsNextChange) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto before = plane->Run(run)->summary;
  plane::RunState seen = plane::RunState::kCreated;
  std::thread waiting([&] {
    auto changed = plane->WaitRun(run, before.updated_at, std::chrono::seconds(20));
    if (changed) seen = changed->summary.status;
  });
  Claimed(plane, runner);
  waiting.join();
  EXPECT_EQ(seen, plane::RunState::kClaimed);
}

}  // namespace
}  // namespace writ::test
