// Whole sessions against a strict plane, with jobs that are functions of the test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "e2e/support/runner_world.h"
#include "support/shared_dir.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

std::vector<std::string> Types(const FakePlane::Run& run) {
  std::vector<std::string> types;
  for (std::size_t i = run.events_of_plane; i < run.events.size(); ++i)
    types.emplace_back(run.events[i].type());
  return types;
}

protocol::Execution Quiet() {
  protocol::Execution execution;
  execution.kind = protocol::Execution::Kind::kShell;
  execution.script = "true";
  execution.env.egress_proxy = false;
  return execution;
}

class SessionTest : public ::testing::TestWithParam<FakePlane::Dialect> {
 protected:
  SessionTest() : plane_(clock_, GetParam()), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
  }
  FakePlane::Run Finish(const std::string& run_id) {
    Result<std::optional<std::string>> ran = world_.RunOne();
    EXPECT_TRUE(ran) << (ran ? "" : ran.error().ToString());
    EXPECT_EQ(ran ? ran->value_or("") : "", run_id);
    EXPECT_EQ(plane_.violations(), std::vector<std::string>());
    EXPECT_EQ(world_.Sessions(), std::vector<std::string>()) << "files are left";
    return plane_.Get(run_id);
  }
  void ExpectVerifies(const std::string& run_id) {
    protocol::VerifyOptions options;
    options.plane_key = plane_.key().Public();
    options.runner_key = plane_.runner_key();
    protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle(run_id), options);
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, run_id);
    EXPECT_TRUE(report.pinned);
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
};

TEST_P(SessionTest, BringsOneRunFromClaimToAReceiptThatVerifies) {
  world_.AddFake([](FakeJobView& job) {
    EXPECT_EQ(job.argv, (std::vector<std::string>{"sh", "-c", "true"}));
    EXPECT_FALSE(job.env.contains("HTTP_PROXY"));
    job.Print("working\n");
    job.Write("made.txt", "new\n");
    return Exited(0);
  });
  protocol::Contract draft = plane_.Draft("run_one");
  draft.execution = Quiet();
  plane_.Add(std::move(draft));
  FakePlane::Run run = Finish("run_one");
  std::vector<std::string> want = {"workspace.materialized", "command.executed", "file.changed",
                                   "artifact.created",       "boundary.crossed", "artifact.created",
                                   "boundary.crossed",       "artifact.created", "boundary.crossed",
                                   "run.completed"};
  if (GetParam() == FakePlane::Dialect::kBase) {
    EXPECT_EQ(Types(run), want);  // diff, log, trace
  } else {
    std::vector<std::string> types = Types(run);
    for (const char* ours : {"session.planned", "session.started", "session.closed"})
      EXPECT_NE(std::find(types.begin(), types.end(), ours), types.end()) << ours;
    EXPECT_EQ(types.back(), "run.completed");
    const json::Value* environment = run.receipt.Find("runner")->Find("environment");
    ASSERT_NE(environment, nullptr);
    EXPECT_EQ(environment->FindString("tier"), "process");
    EXPECT_EQ(environment->FindString("key"), "software");  // L47
    EXPECT_EQ(environment->Find("enforcement")->Find("network")->FindString("level"), "kernel");
    EXPECT_EQ(environment->Find("enforcement")->Find("files")->FindString("level"), "none");
    EXPECT_NE(environment->Find("clock")->Find("planeOffsetMs"), nullptr);
  }
  EXPECT_EQ(run.completions, 1);
  EXPECT_EQ(run.receipt.FindString("startedAt"), FormatRfc3339(run.events[0].ts));
  EXPECT_EQ(world_.observer.output(), "working\n");
  EXPECT_EQ(
      world_.observer.steps(),
      "claimed verified planned materialized prepared started ended collected dismantled uploaded "
      "completed");
  ExpectVerifies("run_one");
}

TEST_P(SessionTest, CollectsAnOverlayFromItsUpperLayerAndTheReceiptSaysWhichWorkspaceItWas) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting an overlay for another uid needs root";
  auto& fake = world_.AddFake([](FakeJobView& job) {
    EXPECT_TRUE(std::filesystem::exists(job.workspace + "/.git/index"));
    EXPECT_FALSE(std::filesystem::exists(job.workspace + "/made.txt")) << "of the run before";
    job.Write("made.txt", "new\n");
    return Exited(0);
  });
  std::vector<json::Value> diffs;
  const backends::OverlayWorkspace ways[] = {backends::OverlayWorkspace::kNone,
                                             backends::OverlayWorkspace::kTrustedXattr,
                                             backends::OverlayWorkspace::kTrustedXattr};
  for (std::size_t i = 0; i < 3; ++i) {
    fake.overlay = ways[i];
    const std::string id = "run_way" + std::to_string(i);
    protocol::Contract draft = plane_.Draft(id);
    draft.execution = Quiet();
    plane_.Add(std::move(draft));
    FakePlane::Run run = Finish(id);
    diffs.push_back(*run.receipt.Find("workspaceOut")->Find("diffHash"));
    ExpectVerifies(id);
    if (GetParam() == FakePlane::Dialect::kBase) continue;
    const json::Value* way = run.receipt.Find("runner")->Find("environment")->Find("workspace");
    ASSERT_NE(way, nullptr);
    EXPECT_EQ(way->FindString("kind"), i == 0 ? "plain" : "overlay");
    EXPECT_EQ(way->FindString("checkout").value_or(""), i == 0 ? "" : i == 1 ? "filled" : "shared");
    EXPECT_EQ(way->FindString("reason").value_or(""),
              i == 0 ? "the backend mounts no overlays: the test says so" : "");
  }
  EXPECT_EQ(diffs[0], diffs[1]);
  EXPECT_EQ(diffs[1], diffs[2]);
}

// L9: in the log, in live output; and the value is nowhere in what the plane got.
TEST_P(SessionTest, KeepsAReleasedSecretOutOfLogAndLiveOutputAndGivesItToTheJobAlone) {
  world_.AddFake([](FakeJobView& job) {
    EXPECT_EQ(job.env.at("MOCK_SECRET"), "s3cr3t-value-42");
    EXPECT_EQ(job.env.at("MAPPED"), "s3cr3t-value-42");
    job.Print("the secret is s3cr3t-va");
    job.Print("lue-42!\n");
    return Exited(0);
  });
  protocol::Contract draft = plane_.Draft("run_secret");
  draft.execution = Quiet();
  draft.execution->env.secrets.push_back({protocol::EnvName::Parse("MAPPED").value(),
                                          protocol::SecretName::Parse("MOCK_SECRET").value()});
  draft.execution->env.secrets.push_back({protocol::EnvName::Parse("ABSENT").value(),
                                          protocol::SecretName::Parse("NOT_RELEASED").value()});
  draft.secrets.push_back({protocol::SecretName::Parse("MOCK_SECRET").value(), "pool:default"});
  plane_.Add(std::move(draft), {{"MOCK_SECRET", "s3cr3t-value-42"}});
  FakePlane::Run run = Finish("run_secret");
  EXPECT_EQ(world_.observer.output(), "the secret is [REDACTED:MOCK_SECRET]!\n");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("the secret is [REDACTED:MOCK_SECRET]!\n").ToHex()));
  EXPECT_EQ(run.receipt.Find("secretsReleased")->array().size(), 1u);
  ExpectVerifies("run_secret");
}

TEST_P(SessionTest, FailsARunWhoseChangedFileHoldsASecretAndKeepsItsDiffBack) {
  world_.AddFake([](FakeJobView& job) {
    job.Write("leak.txt", "key=s3cr3t-value-42\n");
    return Exited(0);
  });
  protocol::Contract draft = plane_.Draft("run_leak");
  draft.execution = Quiet();
  draft.secrets.push_back({protocol::SecretName::Parse("MOCK_SECRET").value(), "pool:default"});
  plane_.Add(std::move(draft), {{"MOCK_SECRET", "s3cr3t-value-42"}});
  FakePlane::Run run = Finish("run_leak");
  EXPECT_EQ(run.receipt.FindString("status"), "failed");
  const json::Value& last = run.events.back().event;
  EXPECT_EQ(last.FindString("failure"), "policy_denied");
  EXPECT_NE(last.FindString("message")->find("leak.txt"), std::string_view::npos);
  EXPECT_EQ(run.receipt.Find("workspaceOut")->FindString("diffHash"), "");
  ExpectVerifies("run_leak");
}

TEST_P(SessionTest, RedactsTheDiffWhereTheOperatorChoseThat) {
  world_.config.grants.redact_diffs = true;
  world_.AddFake([](FakeJobView& job) {
    job.Write("leak.txt", "key=s3cr3t-value-42\n");
    return Exited(0);
  });
  protocol::Contract draft = plane_.Draft("run_redact");
  draft.execution = Quiet();
  draft.secrets.push_back({protocol::SecretName::Parse("MOCK_SECRET").value(), "pool:default"});
  plane_.Add(std::move(draft), {{"MOCK_SECRET", "s3cr3t-value-42"}});
  FakePlane::Run run = Finish("run_redact");
  EXPECT_EQ(run.receipt.FindString("status"), "completed");
  std::string diff =
      plane_.Blob(std::string(*run.receipt.Find("workspaceOut")->FindString("diffHash")));
  EXPECT_NE(diff.find("+key=[REDACTED:MOCK_SECRET]"), std::string::npos) << diff;
  ExpectVerifies("run_redact");
}

TEST_P(SessionTest, LetsNothingOutUnderDisclosureNoneAndOnlyHashesUnderMetadataOnly) {
  world_.AddFake([](FakeJobView& job) {
    job.Print("output\n");
    job.Write("made.txt", "new\n");
    return Exited(0);
  });
  for (auto [name, disclosure] : {std::pair{"run_none", protocol::Disclosure::kNone},
                                  {"run_meta", protocol::Disclosure::kMetadataOnly}}) {
    protocol::Contract draft = plane_.Draft(name);
    draft.execution = Quiet();
    draft.disclosure = disclosure;
    plane_.Add(std::move(draft));
    FakePlane::Run run = Finish(name);
    EXPECT_EQ(plane_.Calls("POST /v1/blobs"), 0) << name;
    for (const json::Value& crossed : run.receipt.Find("boundaryDisclosures")->array())
      EXPECT_EQ(crossed.FindString("direction"), "in");
    EXPECT_EQ(run.receipt.Find("workspaceOut")->FindString("diffHash")->empty(),
              disclosure == protocol::Disclosure::kNone);
    ExpectVerifies(name);
  }
}

// L18
TEST_P(SessionTest, KeepsTheStreamsApartOrMergedAsTheContractSays) {
  for (auto [mode, id] : {std::pair{protocol::StderrMode::kCapture, "run_apart"},
                          {protocol::StderrMode::kMerge, "run_merged"}}) {
    RunnerWorld world(plane_, clock_);
    const bool apart = mode == protocol::StderrMode::kCapture;
    world.AddFake([apart](FakeJobView& job) {
      EXPECT_EQ(job.stderr_to,
                apart ? backends::StderrTo::kOwnStream : backends::StderrTo::kStdout);
      job.Print("to stdout");
      if (apart) {
        job.sink->OnOutput(backends::Stream::kStderr, "to stderr", std::chrono::nanoseconds(1));
      } else {
        job.Print(" to stderr");
      }
      return Exited(0);
    });
    protocol::Contract draft = plane_.Draft(id);
    draft.execution = Quiet();
    draft.execution->log = protocol::ExecutionLog{mode, 4096};
    plane_.Add(std::move(draft));
    ASSERT_TRUE(world.RunOne());
    std::vector<std::string> logs;
    for (const protocol::Event& event : plane_.Get(id).events)
      if (event.type() == "artifact.created" && event.event.FindString("kind") == "log")
        logs.push_back(plane_.Blob(std::string(*event.event.FindString("hash"))));
    EXPECT_EQ(logs, apart ? (std::vector<std::string>{"to stdout", "to stderr"})
                          : (std::vector<std::string>{"to stdout to stderr"}));
  }
}

TEST_P(SessionTest, KeepsHeadAndTailOfALongLogAndSaysWhatIsLeftOut) {
  world_.AddFake([](FakeJobView& job) {
    job.Print("HEAD");
    for (int i = 0; i < 100; ++i) job.Print(std::string(1000, 'x'));
    job.Print("TAIL");
    return Exited(0);
  });
  protocol::Contract draft = plane_.Draft("run_long");
  draft.execution = Quiet();
  draft.execution->log = protocol::ExecutionLog{protocol::StderrMode::kMerge, 4096};
  plane_.Add(std::move(draft));
  FakePlane::Run run = Finish("run_long");
  std::string log;
  for (const protocol::Event& event : run.events)
    if (event.type() == "artifact.created" && event.event.FindString("kind") == "log")
      log = plane_.Blob(std::string(*event.event.FindString("hash")));
  EXPECT_TRUE(log.starts_with("HEAD"));
  EXPECT_TRUE(log.ends_with("TAIL"));
  EXPECT_NE(log.find("\n[writ: 95912 bytes left out]\n"), std::string::npos) << log.size();
}

INSTANTIATE_TEST_SUITE_P(Planes, SessionTest,
                         ::testing::Values(FakePlane::Dialect::kBase,
                                           FakePlane::Dialect::kExtended),
                         [](const auto& dialect) {
                           return dialect.param == FakePlane::Dialect::kBase ? "Base" : "Extended";
                         });

}  // namespace
}  // namespace writ
