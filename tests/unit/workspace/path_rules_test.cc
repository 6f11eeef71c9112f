#include "writ/workspace/path_rules.h"

#include <gtest/gtest.h>

#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

TEST(PathRules, RefuseEverySpellingOfDotGit) {  // L12 L13
  for (const char* name :
       {".git", ".GIT", ".gIt", ".git ", ".git.", ".git . .", ".git::$INDEX", "git~1", "GIT~1",
        "git~1 ", ".git\\config", "x\\.git", ".g\xe2\x80\x8cit", "\xef\xbb\xbf.git"})
    EXPECT_FALSE(IsSafeTreeName(name)) << name;
  for (const char* name :
       {".gitignore", ".github", "git", "git~2", ".gitx", "a.git", "g", "\xc3\xa4"})
    EXPECT_TRUE(IsSafeTreeName(name)) << name;
}

TEST(PathRules, RefusePathsThatLeaveTheTree) {  // L13
  for (const char* path : {"", "/a", "a//b", "a/", "../a", "a/../b", ".", "a/./b", "a/.git/config"})
    EXPECT_FALSE(IsSafeTreePath(path)) << path;
  EXPECT_TRUE(IsSafeTreePath("a/b c/\n"));
  EXPECT_FALSE(IsSafeTreePath(std::string(5000, 'a')));
  EXPECT_FALSE(IsSafeTreeName(std::string("a\0b", 3)));
}

TEST(PathRules, ALinkLeadsOutsideByItsOwnText) {  // L13
  for (auto [path, target] :
       std::initializer_list<std::pair<const char*, const char*>>{{"a", "/etc/passwd"},
                                                                  {"a", "/"},
                                                                  {"a", ".."},
                                                                  {"a/b", "../.."},
                                                                  {"a/b", "../../x"},
                                                                  {"a", "b/../../c"},
                                                                  {"a/b/c", ".//../../.././../x"}})
    EXPECT_TRUE(LinkLeadsOutside(path, target)) << path << " -> " << target;
  for (auto [path, target] :
       std::initializer_list<std::pair<const char*, const char*>>{{"a", "b"},
                                                                  {"a", "."},
                                                                  {"a", ""},
                                                                  {"a/b", ".."},
                                                                  {"a/b", "../c"},
                                                                  {"a", "b/.."},
                                                                  {"a", "..."},
                                                                  {"a/b/c", "../../d"}})
    EXPECT_FALSE(LinkLeadsOutside(path, target)) << path << " -> " << target;
}

TEST(QuotedPath, WhatIsQuotedIsReadBack) {
  for (const std::string& path :
       {std::string("plain"), std::string("sp ace"), std::string("t\tn\n\"q\\"),
        std::string("\xff\x01\x7f"), std::string("\xc3\xa4")}) {
    std::string quoted = QuotePath(path);
    if (quoted == path) continue;
    std::size_t used = 0;
    EXPECT_EQ(UnquotePath(quoted, used), path);
    EXPECT_EQ(used, quoted.size());
  }
  EXPECT_EQ(QuotePath("\xc3\xa4"), "\"\\303\\244\"");
  std::size_t used = 0;
  for (const char* bad : {"\"a", "\"\\q\"", "\"\\000\"", "\"\\40\"", "x"})
    EXPECT_FALSE(UnquotePath(bad, used)) << bad;
}

TEST(QuotedPath, OnlyPathsThatAreNotUtf8AreQuotedInRecords) {
  EXPECT_EQ(PathForRecord("\xc3\xa4.txt"), "\xc3\xa4.txt");
  EXPECT_EQ(PathForRecord("\xff.txt"), "\"\\377.txt\"");
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80"));
  EXPECT_FALSE(IsUtf8("\xc0\x80"));
}

}  // namespace
}  // namespace writ::workspace
