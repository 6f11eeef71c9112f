// Completions and manual pages come from the command tree: what the program does not have they do
// not name.
#include "command_words.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "completion.h"
#include "manual.h"

namespace writ::cli {
namespace {

class Commands : public ::testing::Test {
 protected:
  Commands() {
    app_.name("writ");
    app_.add_option("--dir", dir_, "State")->type_name("DIR");
    app_.add_option("--log-level", level_, "Level")
        ->type_name("LEVEL")
        ->check(CLI::IsMember({"debug", "info"}));
    CLI::App* run = app_.add_subcommand("run", "Run it's task");
    run->add_option("TASK", task_, "The task")->required();
    run->add_flag("--dry-run,-n", flag_, "Only say");
    CLI::App* keys = app_.add_subcommand("keys", "Keys");
    keys->add_subcommand("show", "Show");
    app_.add_subcommand("secret-door", "Not for people")->group("");
  }
  CLI::App app_{"A program"};
  std::string dir_, level_, task_;
  bool flag_ = false;
};

TEST_F(Commands, AreDescribedAsTheyAre) {
  const CommandWords words = DescribeCommands(app_);
  ASSERT_EQ(words.commands.size(), 2u) << "the hidden one is not told";
  EXPECT_EQ(words.commands[1].commands[0].path, "writ keys show");
  const CommandWords& run = words.commands[0];
  ASSERT_EQ(run.positionals.size(), 1u);
  EXPECT_TRUE(run.positionals[0].required);
  bool found = false;
  for (const OptionWords& option : run.options)
    if (option.names == std::vector<std::string>{"--dry-run", "-n"}) {
      found = true;
      EXPECT_TRUE(option.operand.empty()) << "a flag takes nothing";
    }
  EXPECT_TRUE(found);
  for (const OptionWords& option : words.options)
    if (option.names.front() == "--log-level") {
      EXPECT_EQ(option.operand, "LEVEL");
      EXPECT_EQ(option.choices, (std::vector<std::string>{"debug", "info"}));
    }
}

TEST_F(Commands, AreInEveryShellsScriptAndHiddenOnesInNone) {
  const CommandWords words = DescribeCommands(app_);
  for (const Shell shell : {Shell::kBash, Shell::kZsh, Shell::kFish}) {
    const std::string script = CompletionScript(shell, words);
    EXPECT_NE(script.find("keys"), std::string::npos);
    EXPECT_NE(script.find("dry-run"), std::string::npos);
    EXPECT_NE(script.find("debug info"), std::string::npos);
    EXPECT_EQ(script.find("secret-door"), std::string::npos);
  }
  EXPECT_EQ(ParseShell("tcsh"), std::nullopt);
}

TEST_F(Commands, AreInThePageInThePlaceThatIsNamed) {
  const CommandWords words = DescribeCommands(app_);
  auto page =
      RenderManual(".TH T 1\n@EXCEPT writ keys@\n@COMMANDS writ@\n@OPTIONS writ@\n", words, "9");
  ASSERT_TRUE(page) << page.error().ToString();
  EXPECT_NE(page->find(".SS \"writ run\""), std::string::npos);
  EXPECT_NE(page->find("\\-\\-dry\\-run"), std::string::npos);
  EXPECT_EQ(page->find("writ keys show"), std::string::npos) << "left out";
  EXPECT_EQ(page->find('@'), std::string::npos);
  auto settings = RenderManual("@SETTINGS runner@\n", words, "9");
  ASSERT_TRUE(settings);
  EXPECT_NE(settings->find("WRIT_RUNNER_LIMITS_MAX_LOG_BYTES"), std::string::npos);
  EXPECT_EQ(RenderManual("@COMMANDS writ bogus@\n", words, "9").error().code, "manual.unknown");
  EXPECT_EQ(RenderManual("@SETTINGS bogus@\n", words, "9").error().code, "manual.unknown");
}

TEST(RoffText, IsNoRequestAndNoEscape) {
  EXPECT_EQ(RoffText("a\\b-c'd"), "a\\eb\\-c\\(aqd");
}

}  // namespace
}  // namespace writ::cli
