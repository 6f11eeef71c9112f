#include "writ/workspace/patch.h"

#include <gtest/gtest.h>

namespace writ::workspace {
namespace {

std::string CodeOf(std::string_view patch) {
  auto files = ParsePatch(patch, {});
  return files ? "ok" : files.error().code;
}

Result<std::string> ApplyFirst(std::string_view patch, std::string_view old_content) {
  auto files = ParsePatch(patch, {});
  if (!files) return std::move(files).error();
  return ApplyToContent(files->front(), old_content, {});
}

constexpr std::string_view kTwoLines =
    "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n";

TEST(Patch, AppliesAHunkExactlyWhereItSays) {
  EXPECT_EQ(ApplyFirst(kTwoLines, "one\ntwo\n").value(), "one\n2\n");
  EXPECT_FALSE(ApplyFirst(kTwoLines, "zero\none\ntwo\n").has_value()) << "no offset is searched";
  EXPECT_FALSE(ApplyFirst(kTwoLines, "one\nTWO\n").has_value());
}

TEST(Patch, KeepsMissingNewlinesAtTheEnd) {
  std::string patch =
      "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-old\n\\ No newline at end of file\n"
      "+new\n\\ No newline at end of file\n";
  EXPECT_EQ(ApplyFirst(patch, "old").value(), "new");
  EXPECT_FALSE(ApplyFirst(patch, "old\n").has_value());
}

TEST(Patch, RefusesContentThatIsNotTheOneOfItsIndexLine) {  // L15
  std::string patch =
      "diff --git a/f b/f\nindex 814f4a4..1111111 100644\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n "
      "one\n-two\n+2\n";
  auto applied = ApplyFirst(patch, "one\ntwo\n");
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code, "patch.id_mismatch");
}

TEST(Patch, ReadsRenamesCopiesAndModeChangesOfOtherWriters) {
  auto files = ParsePatch(
      "diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to "
      "new "
      "name\ndiff --git a/x b/x\nold mode 100644\nnew mode 100755\n"
      "diff --git \"a/t\\tb\" \"b/t\\tb\"\ndeleted file mode 100644\nindex e69de29..0000000\n",
      {});
  ASSERT_TRUE(files.has_value()) << files.error().ToString();
  ASSERT_EQ(files->size(), 3u);
  EXPECT_EQ((*files)[0].change, PatchFile::Change::kRename);
  EXPECT_EQ((*files)[0].old_path, "old name");
  EXPECT_EQ((*files)[1].new_mode, kModeExecutable);
  EXPECT_EQ((*files)[2].old_path, "t\tb");
}

TEST(Patch, RefusesTextThatIsNoWholeDiff) {
  EXPECT_EQ(CodeOf(""), "ok");
  EXPECT_EQ(CodeOf("hello\n"), "patch.malformed");
  EXPECT_EQ(CodeOf(kTwoLines.substr(0, kTwoLines.size() - 1)), "patch.malformed");
  EXPECT_EQ(CodeOf(kTwoLines.substr(0, kTwoLines.size() - 3)), "patch.malformed");
  EXPECT_EQ(CodeOf("diff --git a/f b/f\nBinary files a/f and b/f differ\n"), "patch.malformed");
  EXPECT_EQ(CodeOf("diff --git a/f b/f\nnew file mode 100666\n"), "ok");
  EXPECT_EQ(CodeOf("diff --git a/f b/f\nnew file mode 060644\n"), "patch.malformed");
  EXPECT_EQ(CodeOf("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,99999999999999999999 +1 @@\n"),
            "patch.malformed");
}

TEST(Patch, StaysWithinItsLimits) {  // L14
  PatchLimits small{.max_patch_bytes = 10};
  EXPECT_EQ(ParsePatch(kTwoLines, small).error().code, "patch.too_large");
  std::string bomb =
      "diff --git a/f b/f\nnew file mode 100644\nindex 0000000..1111111\nGIT binary patch\nliteral "
      "99999999999\nHcmV?d00001\n\n";
  EXPECT_EQ(CodeOf(bomb), "patch.malformed");
}

}  // namespace
}  // namespace writ::workspace
