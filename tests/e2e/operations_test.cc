// Hooks, declared output files, traces and the status of whole runs.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "e2e/support/leased_world.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"
#include "writ/runner/status.h"

namespace writ {
namespace {

using runner::HookKind;
using test::Exited;
using test::FakeJobView;
using test::FakePlane;

constexpr std::string_view kTraceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

class Operations : public test::LeasedWorld {
 protected:
  std::string Hook(HookKind kind, const std::string& body) {
    const std::string path = world_.root() + "/hook-" + std::string(runner::HookName(kind)) + ".sh";
    std::ofstream(path) << "#!/bin/sh\n" << body;
    chmod(path.c_str(), 0755);
    world_.config.hooks[kind] = {.path = path, .args = {world_.root()}};
    world_.config.hooks[kind].failure =
        runner::MayVeto(kind) ? runner::HookFailure::kVeto : runner::HookFailure::kIgnore;
    return path;
  }
  std::string File(const std::string& name) const {
    return ReadFile(world_.root() + "/" + name, 1 << 20).value_or("");
  }
  std::vector<json::Value> EventsOf(const std::string& run, std::string_view type) {
    std::vector<json::Value> out;
    for (const protocol::Event& event : plane_.Get(run).events)
      if (event.type() == type) out.push_back(event.event);
    return out;
  }
};

// L44
TEST_F(Operations, AVetoBeforeARunEndsItAsPolicyDeniedAndNothingIsFetched) {
  bool ran = false;
  world_.AddFake([&](FakeJobView&) {
    ran = true;
    return Exited(0);
  });
  Hook(HookKind::kBeforeRun, "cat > \"$1/asked\"; echo not today; exit 1\n");
  Hook(HookKind::kAfterRun, "cat > \"$1/after\"; exit 9\n");
  plane_.Add(Draft("run_veto"));
  ASSERT_TRUE(world_.RunOne());
  EXPECT_FALSE(ran);
  ExpectOneGoodReceipt("run_veto", "failed");
  EXPECT_EQ(LastEvent("run_veto", "failure"), "policy_denied");
  EXPECT_NE(LastEvent("run_veto", "message").find("before-run"), std::string::npos);
  EXPECT_EQ(EventsOf("run_veto", "workspace.materialized").size(), 0u);
  std::vector<json::Value> hooks = EventsOf("run_veto", "hook.result");
  ASSERT_EQ(hooks.size(), 2u);
  EXPECT_TRUE(*hooks[0].Find("veto")->if_bool());
  EXPECT_EQ(hooks[0].Find("exitCode")->AsInteger(), 1);
  // One after a run breaks nothing.
  EXPECT_EQ(hooks[1].FindString("hook"), "after-run");
  EXPECT_FALSE(*hooks[1].Find("veto")->if_bool());
  auto after = json::Parse(File("after"));
  ASSERT_TRUE(after);
  EXPECT_EQ(after->Find("run")->FindString("failure"), "policy_denied");
}

TEST_F(Operations, HooksAreToldNoSecretAndWhatTheyPrintIsNoPartOfTheReceipt) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  Hook(HookKind::kBeforeRun, "cat > \"$1/asked\"; env >> \"$1/asked\"\n");
  protocol::Contract draft = Draft("run_told");
  draft.secrets.push_back({protocol::SecretName::Parse("TOKEN").value(), "pool:default"});
  plane_.Add(draft, {{"TOKEN", "correct-horse-battery"}});
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_told", "completed");
  EXPECT_NE(File("asked").find("\"secretNames\":[\"TOKEN\"]"), std::string::npos);
  EXPECT_EQ(File("asked").find("correct-horse"), std::string::npos);  // L8
}

TEST_F(Operations, AVetoBeforeAClaimDeclinesTheOffer) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  Hook(HookKind::kBeforeClaim, "[ -e \"$1/open\" ]\n");
  plane_.Add(Draft("run_later"));
  runner::Engine& engine = world_.Open();
  auto none = engine.RunOnce(std::chrono::milliseconds(0));
  ASSERT_TRUE(none) << none.error().ToString();
  EXPECT_FALSE(*none);
  const FakePlane::Run run = plane_.Get("run_later");
  EXPECT_FALSE(run.acknowledged);
  ASSERT_FALSE(run.declined.empty());
  EXPECT_NE(run.declined[0].find("before-claim"), std::string::npos);
}

// L44: what every hook of a run said is in its chain, of the one before it was claimed too.
TEST_F(Operations, WhatTheHookBeforeAClaimSaidIsInTheChainOfTheRunThatItLetThrough) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  Hook(HookKind::kBeforeClaim, "exit 3\n");
  world_.config.hooks[HookKind::kBeforeClaim].failure = runner::HookFailure::kIgnore;
  plane_.Add(Draft("run_let"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_let", "completed");
  std::vector<json::Value> hooks = EventsOf("run_let", "hook.result");
  ASSERT_EQ(hooks.size(), 1u);
  EXPECT_EQ(hooks[0].FindString("hook"), "before-claim");
  EXPECT_EQ(hooks[0].Find("exitCode")->AsInteger(), 3);
  EXPECT_FALSE(*hooks[0].Find("veto")->if_bool());
}

TEST_F(Operations, DeclaredOutputFilesAreUploadedNamedAndVerify) {
  const std::string secret = "correct-horse-battery";
  world_.AddFake([&](FakeJobView& job) {
    std::filesystem::create_directory(job.workspace + "/out");
    job.Write("out/report.txt", "all well");
    job.Write("out/copy.txt", "all well");
    job.Write("out/leak.bin", std::string("\0\1", 2) + Base64Encode("x" + secret));
    job.Write("out/result.json", "{\"score\":3}");
    std::filesystem::create_symlink("/etc/passwd", job.workspace + "/out/passwd.txt");
    return Exited(0);
  });
  protocol::Contract draft = Draft("run_files");
  draft.execution->artifacts = {"out/*.txt", "out/*.bin"};
  draft.execution->result = protocol::WorkspacePath::Parse("out/result.json").value();
  draft.execution->raw = {};
  draft.secrets.push_back({protocol::SecretName::Parse("TOKEN").value(), "pool:default"});
  draft.trace = protocol::TraceContext{std::string(kTraceparent)};
  // The diff holds the secret too; the operator lets it be redacted.
  world_.config.grants.redact_diffs = true;
  plane_.Add(draft, {{"TOKEN", secret}});
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_files", "completed");
  std::vector<std::string> paths;
  for (const json::Value& event : EventsOf("run_files", "artifact.created")) {
    if (event.FindString("kind") != "file") continue;
    paths.emplace_back(event.FindString("path").value_or(""));
    const std::string hash(event.FindString("hash").value_or(""));
    ASSERT_TRUE(plane_.HasBlob(hash));
    EXPECT_EQ(event.Find("bytes")->AsInteger(),
              static_cast<std::int64_t>(plane_.Blob(hash).size()));
  }
  EXPECT_EQ(paths, (std::vector<std::string>{"out/copy.txt", "out/report.txt", "out/result.json"}));
  EXPECT_TRUE(HasFinding("run_files", "artifact.secret"));
  EXPECT_TRUE(HasFinding("run_files", "artifact.link_outside"));
  const FakePlane::Run run = plane_.Get("run_files");
  const json::Value* environment = run.receipt.Find("runner")->Find("environment");
  ASSERT_NE(environment, nullptr);
  ASSERT_NE(environment->Find("trace"), nullptr);
  EXPECT_EQ(environment->Find("trace")->FindString("traceparent"), kTraceparent);
}

// The same files of the same final workspace, whether the job worked in a plain tree or an overlay.
TEST_F(Operations, DeclaredOutputFilesAreTheSameOfAnOverlay) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting an overlay for another uid needs root";
  std::vector<std::string> base_files;
  auto& fake = world_.AddFake([&](FakeJobView& job) {
    base_files.clear();
    for (const auto& entry : std::filesystem::recursive_directory_iterator(job.workspace)) {
      const auto path = entry.path().lexically_relative(job.workspace);
      if (entry.is_regular_file() && *path.begin() != ".git") base_files.push_back(path);
    }
    std::sort(base_files.begin(), base_files.end());
    std::filesystem::remove(job.workspace + "/" + base_files.front());
    std::filesystem::create_directories(job.workspace + "/out");
    job.Write("out/new.txt", "made by the job");
    job.Write("result.json", "{\"score\":3}");
    return Exited(0);
  });
  std::vector<std::string> told[2];
  for (const bool overlay : {false, true}) {
    fake.overlay =
        overlay ? backends::OverlayWorkspace::kTrustedXattr : backends::OverlayWorkspace::kNone;
    const std::string id = overlay ? "run_overlay" : "run_plain";
    protocol::Contract draft = Draft(id);
    draft.execution->artifacts = {"*", "out/**"};
    draft.execution->result = protocol::WorkspacePath::Parse("result.json").value();
    draft.execution->raw = {};
    plane_.Add(draft);
    ASSERT_TRUE(world_.RunOne());
    ExpectOneGoodReceipt(id, "completed");
    for (const json::Value& event : EventsOf(id, "artifact.created"))
      if (event.FindString("kind") == "file")
        told[overlay].push_back(std::string(event.FindString("path").value_or("")) + " " +
                                std::string(event.FindString("hash").value_or("")));
    const FakePlane::Run run = plane_.Get(id);
    const json::Value* way = run.receipt.Find("runner")->Find("environment")->Find("workspace");
    EXPECT_EQ(way->FindString("kind"), overlay ? "overlay" : "plain");
  }
  EXPECT_EQ(told[1], told[0]);
  EXPECT_EQ(told[0].size(), base_files.size() + 1) << "without the removed one, with the two made";
}

TEST_F(Operations, EveryLogLineOfARunSaysWhichRunStepAndTraceItIsOf) {
  world_.AddFake([](FakeJobView&) { return Exited(1); });
  protocol::Contract draft = Draft("run_logged");
  draft.trace = protocol::TraceContext{std::string(kTraceparent)};
  plane_.Add(draft);
  const log::Level before = log::CurrentLevel();
  log::Configure(log::Level::kInfo, log::Format::kJson);
  ::testing::internal::CaptureStderr();
  auto ran = world_.RunOne();
  world_.Close();
  std::istringstream lines(::testing::internal::GetCapturedStderr());
  log::Configure(before, log::Format::kText);
  ASSERT_TRUE(ran);
  std::set<std::string> events;
  for (std::string line; std::getline(lines, line);) {
    auto told = json::Parse(line);
    ASSERT_TRUE(told) << line;
    if (told->FindString("run") != "run_logged") continue;
    events.emplace(told->FindString("event").value_or(""));
    EXPECT_EQ(told->FindString("trace"), kTraceparent.substr(3, 32)) << line;
    EXPECT_NE(told->FindString("step").value_or(""), "") << line;
  }
  for (const char* event : {"runner.claimed", "runner.run_failed", "runner.ended"})
    EXPECT_TRUE(events.contains(event)) << event;
}

TEST_F(Operations, DisclosureDecidesWhatOfTheFilesIsToldAndLeaves) {
  world_.AddFake([](FakeJobView& job) {
    job.Write("out.txt", "only here");
    return Exited(0);
  });
  for (auto disclosure : {protocol::Disclosure::kNone, protocol::Disclosure::kMetadataOnly}) {
    const std::string run = "run_" + std::to_string(static_cast<int>(disclosure));
    protocol::Contract draft = Draft(run);
    draft.execution->artifacts = {"out.txt"};
    draft.execution->raw = {};
    draft.disclosure = disclosure;
    plane_.Add(draft);
    ASSERT_TRUE(world_.RunOne());
    ExpectOneGoodReceipt(run, "completed");
    std::size_t files = 0;
    for (const json::Value& event : EventsOf(run, "artifact.created"))
      files += event.FindString("kind") == "file" ? 1 : 0;
    EXPECT_EQ(files, disclosure == protocol::Disclosure::kNone ? 0u : 1u);
    EXPECT_FALSE(plane_.HasBlob(protocol::Sha256("only here").ToHex()));
  }
}

TEST_F(Operations, ARunWithoutTheResultThatItDeclaredHasFailed) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  protocol::Contract draft = Draft("run_no_result");
  draft.execution->result = protocol::WorkspacePath::Parse("result.json").value();
  draft.execution->raw = {};
  plane_.Add(draft);
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_no_result", "failed");
  EXPECT_NE(LastEvent("run_no_result", "message").find("result.json"), std::string::npos);
}

TEST_F(Operations, ARunnerAtWorkTellsItsRunsAndADrainAsksItsHook) {
  AddWaitingAgent();
  Hook(HookKind::kOnDrain, "cat > \"$1/drained\"\n");
  runner::Engine& engine = world_.Open();
  plane_.Add(Draft("run_seen"));
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  auto status = runner::ReadRunnerStatus(world_.config.state_dir);
  ASSERT_TRUE(status) << status.error().ToString();
  const json::Array& runs = status->Find("runs")->array();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].FindString("runId"), "run_seen");
  EXPECT_EQ(runs[0].FindString("step"), "started");
  EXPECT_EQ(runs[0].FindString("lease"), "held");
  EXPECT_EQ(status->Find("slots")->Find("taken")->AsInteger(), 1);
  const json::Value* machine = status->Find("machine");
  ASSERT_NE(machine, nullptr);
  EXPECT_GT(machine->Find("reserved")->Find("diskBytes")->AsInteger().value_or(0), 0);
  EXPECT_LE(machine->Find("reserved")->Find("diskBytes")->AsInteger().value_or(0),
            machine->Find("total")->Find("diskBytes")->AsInteger().value_or(0));
  gate_.Open();
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_NE(File("drained").find("\"hook\":\"on-drain\""), std::string::npos);
  EXPECT_EQ(runner::ReadRunnerStatus(world_.config.state_dir).error().code, "status.no_runner");
}

}  // namespace
}  // namespace writ
