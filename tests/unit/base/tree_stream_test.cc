// A tree as a stream: what goes in comes out, in any pieces; what it was not made of is refused.
#include "writ/base/tree_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "writ/base/paths.h"

namespace writ {
namespace {

namespace fs = std::filesystem;

class TreeStream : public testing::Test {
 protected:
  TreeStream() {
    std::string pattern = testing::TempDir() + "writ-tree-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base_ = pattern;
    fs::create_directories(base_ + "/from/sub");
    fs::create_directories(base_ + "/to");
    std::ofstream(base_ + "/from/one") << "1";
    std::ofstream(base_ + "/from/sub/two") << std::string(150000, '2');
    fs::create_symlink("one", base_ + "/from/link");
    dir_ = std::move(OpenDirectory(base_)).value();
  }
  ~TreeStream() override { fs::remove_all(base_); }

  std::string Stream(const std::string& path, const TreeLimits& limits = {}) {
    std::string out;
    sent_ = SendTree(dir_.get(), path, path.substr(path.rfind('/') + 1), limits,
                     [&out](std::string_view bytes) {
                       out.append(bytes);
                       return Status();
                     });
    return out;
  }
  Status Make(std::string_view stream, const std::string& path, std::size_t piece = 1 << 20) {
    TreeMaker maker(dir_.get(), path);
    TreeReader reader({}, &maker);
    for (std::size_t at = 0; at < stream.size(); at += piece)
      WRIT_TRY(reader.Write(stream.substr(at, piece)));
    if (!reader.ended()) return Error{.code = "test.not_ended"};
    return {};
  }
  static std::string Record(char kind, const std::string& payload) {
    std::string out(1, kind);
    for (int i = 0; i < 4; ++i)
      out.push_back(static_cast<char>((payload.size() >> (8 * i)) & 0xff));
    return out + payload;
  }
  static std::string File(const std::string& path) {
    return Record('F', std::string("\xa4\x01\0\0", 4) + path) + Record('B', "x") + Record('E', "");
  }
  std::string Text(const std::string& path) {
    std::ifstream in(base_ + "/" + path);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  std::string base_;
  UniqueFd dir_;
  Result<TreeSummary> sent_ = Error{};
};

TEST_F(TreeStream, ComesOutAsItWentInWhateverThePieces) {
  const std::string stream = Stream("from");
  ASSERT_TRUE(sent_);
  EXPECT_EQ(sent_->files, 2u);
  EXPECT_THAT(sent_->left_out, testing::ElementsAre("from/link"));
  for (std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, stream.size()}) {
    const std::string to = "to/" + std::to_string(piece);
    Status made = Make(stream, to, piece);
    ASSERT_TRUE(made) << made.error().ToString();
    EXPECT_EQ(Text(to + "/one"), "1");
    EXPECT_EQ(Text(to + "/sub/two"), std::string(150000, '2'));
    EXPECT_FALSE(fs::exists(base_ + "/" + to + "/link"));
  }
}

TEST_F(TreeStream, GoesIntoADirectoryThatIsThere) {
  ASSERT_TRUE(Make(Stream("from"), "to"));
  EXPECT_EQ(Text("to/from/one"), "1");
  ASSERT_TRUE(Make(Stream("from/one"), ""));
  EXPECT_EQ(Text("one"), "1");
}

TEST_F(TreeStream, FollowsNoLinkOnEitherSide) {  // L13
  Stream("from/link");
  ASSERT_FALSE(sent_);
  EXPECT_EQ(sent_.error().code, "copy.link");
  std::ofstream(base_ + "/victim") << "kept";
  fs::create_symlink("../victim", base_ + "/to/planted");
  fs::create_symlink(".", base_ + "/to/loop");
  ASSERT_TRUE(Make(Stream("from/one"), "to/planted"));
  EXPECT_EQ(Text("victim"), "kept");
  EXPECT_EQ(Text("to/planted"), "1");
  const Status through = Make(Stream("from/one"), "to/loop/x");
  ASSERT_FALSE(through);
  EXPECT_EQ(through.error().code, "copy.not_a_directory");
  EXPECT_NE(through.error().hint.find("symbolic link"), std::string::npos);
}

TEST_F(TreeStream, RefusesPathsThatLeave) {  // L13
  for (const char* path : {"../x", "/x", "a/../../x", "a//b", ".", "..", "", "a/./b"}) {
    Status made = Make(File(path) + TreeEnd(), "to");
    ASSERT_FALSE(made) << path;
    EXPECT_EQ(made.error().code, "copy.bad_stream") << path;
  }
  EXPECT_FALSE(Make(File(std::string("a\0b", 3)) + TreeEnd(), "to"));
}

TEST_F(TreeStream, GivesNoMoreThanTheUmaskOfWhoMakesIt) {
  const mode_t before = ::umask(027);
  Status made =
      Make(Record('F', std::string("\xff\x01\0\0", 4) + "a") + Record('E', "") + TreeEnd(), "to");
  ::umask(before);
  ASSERT_TRUE(made) << made.error().ToString();
  struct stat st {};
  ASSERT_EQ(::stat((base_ + "/to/a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0750u);
}

TEST_F(TreeStream, RefusesWhatSendTreeWouldNotSay) {
  for (const std::string& stream :
       {Record('Q', ""), Record('B', "x"), Record('E', ""), Record('F', "abc"),
        Record('F', std::string("\xff\xff\0\0", 4) + "a"), File("a") + TreeEnd() + File("b"),
        Record('D', std::string(4, '\0') + "d") + Record('Z', "x"),
        std::string("B\xff\xff\xff\xff", 5)}) {
    Status made = Make(stream, "to");
    EXPECT_FALSE(made);
    EXPECT_EQ(made.error().code, "copy.bad_stream");
  }
  EXPECT_EQ(Make(File("a"), "to").error().code, "test.not_ended");
}

TEST_F(TreeStream, TellsTheSendersFailure) {
  const std::string stream = Stream("missing");
  ASSERT_FALSE(sent_);
  Status made = Make(stream, "to");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, sent_.error().code);
  EXPECT_EQ(made.error().sys_errno, ENOENT);
}

TEST_F(TreeStream, IsBoundedOnBothSides) {
  TreeLimits few;
  few.max_entries = 2;
  Stream("from", few);
  EXPECT_EQ(sent_.error().code, "copy.too_large");
  TreeLimits small;
  small.max_bytes = 1000;
  TreeReader reader(small, nullptr);
  EXPECT_EQ(reader.Write(Stream("from")).error().code, "copy.too_large");
}

TEST_F(TreeStream, LeavesNoHalfFile) {
  {
    TreeMaker maker(dir_.get(), "to");
    TreeReader reader({}, &maker);
    ASSERT_TRUE(reader.Write(Record('F', std::string(4, '\0') + "half") + Record('B', "x")));
  }
  EXPECT_TRUE(fs::is_empty(base_ + "/to"));
}

}  // namespace
}  // namespace writ
