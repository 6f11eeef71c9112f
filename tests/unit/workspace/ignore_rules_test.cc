#include "writ/workspace/ignore_rules.h"

#include <gtest/gtest.h>

#include <random>

#include "harness.h"

namespace writ::workspace {
namespace {

TEST(Glob, MatchesAsGitDoes) {
  EXPECT_TRUE(GlobMatches("*.o", "a.o"));
  EXPECT_FALSE(GlobMatches("*.o", "d/a.o"));
  EXPECT_TRUE(GlobMatches("**/a", "a"));
  EXPECT_TRUE(GlobMatches("**/a", "x/y/a"));
  EXPECT_TRUE(GlobMatches("a/**/b", "a/b"));
  EXPECT_TRUE(GlobMatches("a/**", "a/x/y"));
  EXPECT_TRUE(GlobMatches("[!a-c]x[[:digit:]]", "dx7"));
  EXPECT_FALSE(GlobMatches("[a-", "a"));
  EXPECT_TRUE(GlobMatches("\\*", "*"));
}

TEST(Glob, EndsInBoundedTimeOnHostilePatterns) {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern, std::string(4000, 'b')));
}

TEST(PathGlob, WithoutASlashLooksAtTheName) {
  EXPECT_TRUE(PathGlobMatches("*.txt", "deep/er/notes.txt"));
  EXPECT_FALSE(PathGlobMatches("er/*.txt", "deep/er/notes.txt"));
}

// Random rules and paths, judged by `git check-ignore` too.
TEST(IgnoreRules, AgreeWithGitOnRandomRules) {
  std::mt19937 random(11);
  auto pick = [&](std::initializer_list<const char*> list) {
    return std::string(*(list.begin() + random() % list.size()));
  };
  for (int round = 0; round < 25; ++round) {
    test::TempDir dir;
    test::Git(dir.path(), {"init", "-q"});
    std::string text;
    for (int i = 0; i < 6; ++i)
      text += pick({"", "", "!", "/"}) +
              pick({"*", "a", "b", "*.o", "a/b", "**/b", "a/**", "b/*.o", "[ab]", "c\\ ", "a*b",
                    "?", "a/*/c", "**", "# x", "c  "}) +
              pick({"", "", "/"}) + "\n";
    test::WriteFileAt(dir.path() + "/.gitignore", text);
    IgnoreRules rules;
    rules.AddFile("", text);
    for (const char* path : {"a", "b", "c", "x.o", "ab", "axb", "c "}) {
      test::WriteFileAt(dir.path() + "/" + path, "");
      bool by_git =
          test::RunTool({"git", "check-ignore", "-q", "--no-index", "--", path}, dir.path()).code ==
          0;
      bool by_us = rules.Match(path, IgnoreRules::Kind::kFile) == IgnoreRules::Verdict::kIgnored;
      EXPECT_EQ(by_us, by_git) << "path '" << path << "' of rules:\n" << text;
    }
  }
}

TEST(IgnoreRules, OfAFolderEndWithIt) {
  IgnoreRules rules;
  rules.AddFile("", "*.o\n");
  rules.AddFile("sub", "!keep.o\n/top\n");
  EXPECT_EQ(rules.Match("sub/keep.o", IgnoreRules::Kind::kFile), IgnoreRules::Verdict::kIncluded);
  EXPECT_EQ(rules.Match("sub/deep/top", IgnoreRules::Kind::kFile), IgnoreRules::Verdict::kNone);
  rules.LeaveTo("other");
  EXPECT_EQ(rules.Match("sub/keep.o", IgnoreRules::Kind::kFile), IgnoreRules::Verdict::kIgnored);
}

}  // namespace
}  // namespace writ::workspace
