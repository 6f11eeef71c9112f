#include "disclosure_report.h"

#include <gtest/gtest.h>

namespace writ::cli {
namespace {

using json::Array;
using json::Object;
using json::Value;

Object Plain() {
  return {{"dryRun", true},
          {"agent", Object{{"kind", "command"}}},
          {"pool", "default"},
          {"secrets", Array{}},
          {"network", Object{{"defaultDeny", true}, {"allowHosts", Array{}}}},
          {"budget", Object{}},
          {"disclosure", "minimal-context"},
          {"execution", Object{{"kind", "shell"}, {"script", "make"}}},
          {"policyDecision", Object{{"decision", "allow"}, {"reason", "policy allows this run"}}}};
}

workspace::Captured Capture() {
  workspace::Captured captured;
  captured.summary.head = std::string(40, 'a');
  captured.summary.branch = "refs/heads/main";
  captured.blobs.push_back({.kind = workspace::CapturedBlob::Kind::kBundle, .bytes = 2048});
  captured.manifest.denied_patterns = {".env", "*.pem"};
  return captured;
}

std::string Screen(Object report, const workspace::Captured& captured = Capture()) {
  return RenderDisclosure(std::move(report), captured, "");
}

bool Has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

TEST(DisclosureReport, IsForPeopleAndHoldsNoJson) {
  const std::string screen = Screen(Plain());
  EXPECT_EQ(screen.find_first_of("{}[]\""), std::string::npos) << screen;
  EXPECT_TRUE(Has(screen, "DRY RUN: nothing was moved")) << screen;
  EXPECT_TRUE(Has(screen, "commit aaaaaaaaaaaa of main, 2.0 KiB")) << screen;
  EXPECT_TRUE(Has(screen, "nothing uncommitted")) << screen;
  EXPECT_TRUE(Has(screen, "at most 10 min\n")) << screen;
  EXPECT_TRUE(Has(screen, "allow: policy allows this run")) << screen;
}

TEST(DisclosureReport, SaysWhetherALostRunWouldBeRepeated) {
  EXPECT_TRUE(Has(Screen(Plain()), "never: it is not said to be idempotent"));
  Object report = Plain();
  report.Set("execution", Object{{"kind", "shell"}, {"script", "make"}, {"idempotent", true}});
  EXPECT_TRUE(Has(Screen(report), "yes, where its runner is lost"));
}

TEST(DisclosureReport, CountsOneFileAsOneAndNamesThePatternThatKeptAPathBack) {
  workspace::Captured captured = Capture();
  captured.summary.changed_files = 1;
  captured.manifest.denied_paths = {"deep/server.pem"};
  const std::string screen = Screen(Plain(), captured);
  EXPECT_TRUE(Has(screen, "1 uncommitted file, ")) << screen;
  EXPECT_TRUE(Has(screen, "1 path by deny patterns")) << screen;
  EXPECT_TRUE(Has(screen, "- deep/server.pem  (*.pem)")) << screen;
}

TEST(DisclosureReport, SaysSecretsHostsLimitsAndWhoWouldBeAsked) {
  Object report = Plain();
  report.Set("secrets", Array{Object{{"name", "TOKEN"}, {"scope", "pool:default"}}});
  report.Set("network", Object{{"defaultDeny", true}, {"allowHosts", Array{"example.com"}}});
  report.Set("budget", Object{{"maxDurationMin", 5}, {"maxSpendUsd", 2.5}});
  report.Set("execution", Object{{"kind", "agent"}, {"prompt", "mend it"}, {"timeoutMs", 90000}});
  report.Set("policyDecision", Object{{"decision", "ask"},
                                      {"reason", "consent is needed"},
                                      {"consentRequirements", Array{"secret-release TOKEN"}}});
  const std::string screen = Screen(report);
  EXPECT_TRUE(Has(screen, "TOKEN  (pool:default)")) << screen;
  EXPECT_TRUE(Has(screen, "1 host, all others are refused")) << screen;
  EXPECT_TRUE(Has(screen, "+ example.com")) << screen;
  EXPECT_TRUE(Has(screen, "at most 1 min 30 s")) << "the smaller limit: " << screen;
  EXPECT_TRUE(Has(screen, "at most 2.5 USD")) << screen;
  EXPECT_TRUE(Has(screen, "needed: secret-release TOKEN")) << screen;
}

TEST(DisclosureReport, NoNetworkAtAllIsSaidSo) {
  Object report = Plain();
  report.Set(
      "execution",
      Object{{"kind", "shell"}, {"script", "make"}, {"env", Object{{"egressProxy", false}}}});
  EXPECT_TRUE(Has(Screen(report), "none at all"));
}

TEST(DisclosureReport, NamesFromARepositoryDoNotDriveTheTerminal) {
  workspace::Captured captured = Capture();
  captured.manifest.denied_paths = {"a\x1b[2J.pem"};
  captured.findings.push_back({"workspace.special_file", "b\rc", "it is a FIFO"});
  const std::string screen = Screen(Plain(), captured);
  EXPECT_EQ(screen.find_first_of("\x1b\r"), std::string::npos) << screen;
  EXPECT_TRUE(Has(screen, "a\\x1b")) << screen;
}

TEST(DisclosureReport, JsonHasWhatOnlyThisSideKnows) {
  const Value json = DisclosureJson(Plain(), Capture(), "sandbox");
  EXPECT_EQ(*json.Find("wouldUpload")->Find("bytes"), Value(2048));
  EXPECT_EQ(*json.Find("pool"), Value("default"));
  EXPECT_EQ(json.FindString("defaultIsolation"), "sandbox");
  EXPECT_TRUE(json.Find("findings")->array().empty());
}

}  // namespace
}  // namespace writ::cli
