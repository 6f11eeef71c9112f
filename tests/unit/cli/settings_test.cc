// flag > environment > file > default, and nothing that nobody knows.
#include "settings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "writ/runner/config.h"

namespace writ::cli {
namespace {

Sources File(const std::string& text) {
  Sources out;
  out.file = "/etc/writ/runner.json";
  out.text = text;
  return out;
}

const Setting* Find(const std::vector<Setting>& settings, std::string_view name) {
  for (const Setting& setting : settings)
    if (setting.name == name) return &setting;
  return nullptr;
}

TEST(Settings, OfAHigherLayerWinAndSayWhereTheyComeFrom) {
  Sources sources = File(R"({"pool":"file","slots":2,"limits":{"processes":10,"openFiles":20}})");
  sources.environment = {{"WRIT_DIR", "/elsewhere"},
                         {"WRIT_RUNNER_SLOTS", "3"},
                         {"WRIT_RUNNER_LIMITS_PROCESSES", "11"},
                         {"WRIT_RUNNER_GRANTS_REDACT_DIFFS", "true"},
                         {"WRIT_RUNNER_ALLOW_HOSTS", "a.example,b.example:443"}};
  sources.flags = {{"slots", json::Value(4), "--slots"}};
  auto layered = LayerSettings(SettingsFile::kRunner, sources);
  ASSERT_TRUE(layered) << layered.error().ToString();
  auto config = runner::ParseRunnerConfig(json::Write(layered->document));
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->slots, 4u);
  EXPECT_EQ(config->pool, "file");
  EXPECT_EQ(config->limits.processes, 11u);
  EXPECT_EQ(config->limits.open_files, 20u);
  EXPECT_TRUE(config->grants.redact_diffs);
  EXPECT_EQ(config->allow_hosts->size(), 2u);
  auto complete = json::Parse(runner::RunnerConfigJson(*config));
  ASSERT_TRUE(complete);
  const auto settings = Effective(SettingsFile::kRunner, *layered, *complete);
  EXPECT_EQ(Find(settings, "slots")->origin, Origin::kFlag);
  EXPECT_EQ(Find(settings, "slots")->from, "--slots");
  EXPECT_EQ(Find(settings, "limits.processes")->from, "WRIT_RUNNER_LIMITS_PROCESSES");
  EXPECT_EQ(Find(settings, "limits.openFiles")->origin, Origin::kFile);
  EXPECT_EQ(Find(settings, "limits.diskFiles")->origin, Origin::kDefault);
}

TEST(Settings, ThatNobodyKnowsAreRefusedFromEverywhere) {
  Sources sources;
  sources.environment = {{"WRIT_RUNNER_SLOT", "3"}};
  EXPECT_EQ(LayerSettings(SettingsFile::kRunner, sources).error().code, "cli.variable_unknown");
  EXPECT_TRUE(LayerSettings(SettingsFile::kPlane, sources)) << "another file's variable";
  sources.environment = {{"WRIT_RUNNER_HOOKS", "{}"}};  // what runs programs is only in the file
  EXPECT_EQ(LayerSettings(SettingsFile::kRunner, sources).error().code, "cli.variable_unknown");
  for (const char* wrong : {"", "x", "1e3", "9007199254740993", "+3", " 3"}) {
    sources.environment = {{"WRIT_RUNNER_SLOTS", wrong}};
    EXPECT_EQ(LayerSettings(SettingsFile::kRunner, sources).error().code, "cli.variable_value")
        << wrong;
  }
  sources.environment = {{"WRIT_RUNNER_GRANTS_OPEN_NETWORK", "yes"}};
  EXPECT_EQ(LayerSettings(SettingsFile::kRunner, sources).error().code, "cli.variable_value");
  EXPECT_FALSE(LayerSettings(SettingsFile::kRunner, File("{\"a\":1,\"a\":2}")));
}

TEST(Settings, OfThePlaneKnowWhatStandsBesideIt) {
  Sources sources = File(R"({"version":"writ.config.v1","plane":{"blobReads":"free"},
                             "serve":{"port":7070}})");
  sources.environment = {{"WRIT_PLANE_SERVE_PORT", "7071"}, {"WRIT_PLANE_LIMITS_MAX_HEADERS", "9"}};
  auto settings = ParsePlaneSettings(sources);
  ASSERT_TRUE(settings) << settings.error().ToString();
  EXPECT_EQ(settings->serve.port, 7071);
  EXPECT_EQ(settings->config.max_headers, 9u);
  EXPECT_EQ(settings->config.blob_reads, plane::BlobReads::kFree);
  EXPECT_EQ(Find(settings->effective, "serve.port")->origin, Origin::kEnvironment);
  for (const char* wrong : {R"({"version":"writ.config.v1","plnae":{}})",
                            R"({"version":"writ.config.v1","serve":{"prot":1}})",
                            R"({"version":"writ.config.v1","serve":{"tlsCert":"a"}})"})
    EXPECT_FALSE(ParsePlaneSettings(File(wrong))) << wrong;
}

TEST(Settings, EachHaveOneVariableAndComeBackFromTheirOwnDocument) {
  for (const SettingsFile file : {SettingsFile::kRunner, SettingsFile::kPlane}) {
    std::set<std::string> variables;
    for (const SettingWords& setting : DescribeSettings(file)) {
      if (setting.variable.empty()) continue;
      EXPECT_TRUE(variables.insert(setting.variable).second) << setting.variable;
    }
    EXPECT_GT(variables.size(), 15u);
  }
  plane::Config config;
  config.max_headers = 77;
  config.per_agent.reset();
  config.lease.max_attempts = 7;
  auto back = plane::ParseConfig(plane::ConfigJson(config));
  ASSERT_TRUE(back) << back.error().ToString();
  EXPECT_EQ(plane::ConfigJson(*back), plane::ConfigJson(config));
  EXPECT_FALSE(back->per_agent);
}

TEST(Settings, AreShownWithoutTheirPasswords) {  // L8
  for (const char* password : {"pass", "pa/ss", "p@ss"}) {
    const std::string url = std::string("http://joe:") + password + "@proxy.example:3128";
    EXPECT_EQ(ShownValue(json::Value(url)), "\"http://***@proxy.example:3128\"");
  }
  EXPECT_EQ(ShownValue(json::Value(std::string(200, 'a'))).size(), 72u);
}

}  // namespace
}  // namespace writ::cli
