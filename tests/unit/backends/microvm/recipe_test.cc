#include "writ/backends/microvm/recipe.h"

#include <gtest/gtest.h>

#include <string>

namespace writ::test {
namespace {

using namespace backends::microvm;

Recipe Parse(const std::string& text) {
  auto recipe = ParseRecipe(text);
  EXPECT_TRUE(recipe) << (recipe ? "" : recipe.error().ToString());
  return recipe ? *recipe : Recipe{};
}

TEST(Recipe, SaysWhatIsDoneStepByStep) {
  const Recipe recipe = Parse(
      "# a base\n"
      "FROM debian\n"
      "\n"
      "ENV A=1 B=\"two \\\"words\\\" \\\\\"\n"
      "WORKDIR /srv/./app/\n"
      "COPY ./tool lib/  /usr/local/\n"
      "RUN echo one && \\\n"
      "    echo two\n"
      "USER 1000\n"
      "START ./serve --port 1\n"
      "HEALTHCHECK --timeout=5 ./probe\n");
  EXPECT_EQ(recipe.base.kind, RecipeBase::Kind::kImage);
  EXPECT_EQ(recipe.base.name, "debian");
  EXPECT_EQ(recipe.base_line, 2u);
  ASSERT_EQ(recipe.steps.size(), 7u);
  EXPECT_EQ(recipe.steps[0].env[1].second, "two \"words\" \\");
  EXPECT_EQ(recipe.steps[1].target, "/srv/app");
  EXPECT_EQ(recipe.steps[2].sources, (std::vector<std::string>{"tool", "lib"}));
  EXPECT_EQ(recipe.steps[2].target, "/usr/local/");
  EXPECT_EQ(recipe.steps[3].command, "echo one &&     echo two");
  EXPECT_EQ(recipe.steps[3].line, 7u);
  GuestConfig config;
  for (const RecipeStep& step : recipe.steps) Apply(step, config);
  EXPECT_EQ(config.env, (std::vector<std::pair<std::string, std::string>>{
                            {"A", "1"}, {"B", "two \"words\" \\"}}));
  EXPECT_EQ(config.user, "1000");
  EXPECT_EQ(config.work_dir, "/srv/app");
  EXPECT_EQ(config.health_timeout_s, 5u);
}

TEST(Recipe, NamesASuiteWithItsPackages) {
  const Recipe recipe = Parse("FROM --suite bookworm git curl\n");
  EXPECT_EQ(recipe.base.kind, RecipeBase::Kind::kSuite);
  EXPECT_EQ(recipe.base.packages, (std::vector<std::string>{"git", "curl"}));
  EXPECT_EQ(Parse("FROM scratch").base.kind, RecipeBase::Kind::kScratch);
}

struct Refused {
  const char* text;
  const char* code;
  const char* where;
};
class RecipeRefusals : public testing::TestWithParam<Refused> {};

// Each names its line and says what would do.
TEST_P(RecipeRefusals, NameTheLineAndTheMend) {
  auto recipe = ParseRecipe(GetParam().text);
  ASSERT_FALSE(recipe);
  EXPECT_EQ(recipe.error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(recipe.error().code, GetParam().code);
  EXPECT_TRUE(recipe.error().message.starts_with(GetParam().where)) << recipe.error().message;
  EXPECT_FALSE(recipe.error().hint.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, RecipeRefusals,
    testing::Values(
        Refused{"", "recipe.no_from", ""}, Refused{"RUN true\n", "recipe.no_from", "line 1:"},
        Refused{"FROM a\nFROM b\n", "recipe.twice", "line 2:"},
        Refused{"FROM --platform=x a\n", "recipe.from", "line 1:"},
        Refused{"FROM a b\n", "recipe.from", "line 1:"},
        Refused{"FROM --suite\n", "recipe.from", "line 1:"},
        Refused{"FROM a\n\nrun true\n", "recipe.unknown", "line 3:"},
        Refused{"FROM a\nADD x /y\n", "recipe.unknown", "line 2:"},
        Refused{"FROM a\nRUN\n", "recipe.command", "line 2:"},
        Refused{"FROM a\nRUN [\"true\"]\n", "recipe.command", "line 2:"},
        Refused{"FROM a\nRUN true \\\n", "recipe.open_line", "line 2:"},
        Refused{"FROM a\r\n", "recipe.text", "line 1:"},
        Refused{"FROM a\nRUN a\x01\n", "recipe.text", "line 2:"},
        Refused{"FROM a\nCOPY x\n", "recipe.copy", "line 2:"},
        Refused{"FROM a\nCOPY ../x /y\n", "recipe.copy_source", "line 2:"},
        Refused{"FROM a\nCOPY a/../../x /y\n", "recipe.copy_source", "line 2:"},
        Refused{"FROM a\nCOPY /etc/shadow /y\n", "recipe.copy_source", "line 2:"},
        Refused{"FROM a\nCOPY --from=b x /y\n", "recipe.copy_source", "line 2:"},
        Refused{"FROM a\nCOPY x y\n", "recipe.copy_target", "line 2:"},
        Refused{"FROM a\nCOPY x /../y\n", "recipe.copy_target", "line 2:"},
        Refused{"FROM a\nCOPY x /proc/y\n", "recipe.copy_target", "line 2:"},
        Refused{"FROM a\nCOPY x y /z\n", "recipe.copy_target", "line 2:"},
        Refused{"FROM a\nENV\n", "recipe.env", "line 2:"},
        Refused{"FROM a\nENV 1A=x\n", "recipe.env", "line 2:"},
        Refused{"FROM a\nENV A=$HOME\n", "recipe.env", "line 2:"},
        Refused{"FROM a\nENV A=\"x\n", "recipe.env", "line 2:"},
        Refused{"FROM a\nENV LD_PRELOAD=/x\n", "recipe.env", "line 2:"},
        Refused{"FROM a\nUSER a:b\n", "recipe.user", "line 2:"},
        Refused{"FROM a\nUSER 65534\n", "recipe.user", "line 2:"},
        Refused{"FROM a\nWORKDIR x\n", "recipe.workdir", "line 2:"},
        Refused{"FROM a\nWORKDIR /dev/x\n", "recipe.workdir", "line 2:"},
        Refused{"FROM a\nSTART a\nSTART b\n", "recipe.twice", "line 3:"},
        Refused{"FROM a\nHEALTHCHECK a\n", "recipe.health", "line 2:"},
        Refused{"FROM a\nSTART a\nHEALTHCHECK --timeout=0 a\n", "recipe.health", "line 3:"},
        Refused{"FROM a\nSTART a\nHEALTHCHECK --every=1 a\n", "recipe.health", "line 3:"}));

TEST(Recipe, IsBounded) {
  const std::string from = "FROM a\n";
  EXPECT_EQ(ParseRecipe(from + std::string(kMaxRecipeBytes, '#')).error().code, "recipe.too_large");
  EXPECT_EQ(ParseRecipe(from + "RUN " + std::string(20'000, 'a')).error().code, "recipe.line");
  std::string many = from;
  for (std::size_t i = 0; i <= kMaxRecipeSteps; ++i) many += "RUN true\n";
  EXPECT_EQ(ParseRecipe(many).error().code, "recipe.steps");
}

// L2: what the recipe says is one word of the shell's, whatever is in it.
TEST(Recipe, StartsAndWaitsByOneShellText) {
  GuestConfig config;
  EXPECT_EQ(WarmUpOf(config), "");
  config.work_dir = "/srv";
  config.env = {{"A", "it's"}};
  config.start = "serve 'x'";
  EXPECT_EQ(
      WarmUpOf(config),
      "cd '/srv' || exit 1\nexport A='it'\\''s'\n/bin/sh -c 'serve '\\''x'\\''' &\nwait $!\n");
  config.health = "true";
  EXPECT_NE(WarmUpOf(config).find("left=60\nuntil /bin/sh -c 'true'; do\n"), std::string::npos);
}

}  // namespace
}  // namespace writ::test
