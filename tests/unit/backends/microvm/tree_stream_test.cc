// Tree streams as no writer of ours makes them. What a real upper layer gives: agent_test.
#include "writ/backends/microvm/tree_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backends/microvm/channel/src/tree_record.h"
#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/tree_contents.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using namespace backends::microvm;
using backends::launch::Writer;

std::string Record(TreeTag tag, const std::string& name = {},
                   std::vector<std::uint64_t> numbers = {}) {
  Writer out;
  out.Number(static_cast<std::uint64_t>(tag));
  if (!name.empty()) out.Text(name);
  for (std::uint64_t number : numbers) out.Number(number);
  return Frame(out.bytes());
}
std::string Extent(std::uint64_t offset, const std::string& bytes) {
  Writer out;
  out.Number(static_cast<std::uint64_t>(TreeTag::kExtent));
  out.Number(offset);
  out.Text(bytes);
  return Frame(out.bytes());
}
std::string Link(const std::string& name, const std::string& target) {
  Writer out;
  out.Number(static_cast<std::uint64_t>(TreeTag::kSymlink));
  out.Text(name);
  out.Text(target);
  return Frame(out.bytes());
}
std::string File(const std::string& name, const std::string& bytes, std::uint64_t number = 0) {
  return Record(TreeTag::kFile, name, {0644, bytes.size(), number}) + Extent(0, bytes) +
         Record(TreeTag::kFileEnd);
}

class GuestChanges : public testing::Test {
 protected:
  void SetUp() override {
    // In memory: one test makes ten thousand directories in each other.
    std::string pattern = "/dev/shm/writ-tree-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    root_ = base_ + "/root";
    fs::create_directory(root_);
    fs::create_directory(base_ + "/outside");
    std::ofstream(base_ + "/outside/file") << "untouched";
  }
  void TearDown() override {
    auto parent = OpenDirectory("/dev/shm");
    ASSERT_TRUE(parent && RemoveTreeBeneath(parent->get(), base_.substr(base_.rfind('/') + 1)));
  }

  Status Read(const std::string& bytes, TreeLimits limits = {}) {
    auto dir = OpenDirectory(root_);
    if (!dir) return std::move(dir).error();
    TreeReader reader(std::move(dir).value(), limits);
    WRIT_TRY(reader.Add(bytes));
    if (!reader.complete()) return Error{ErrorKind::kInvalid, "not whole", ""};
    return {};
  }
  std::string CodeOf(const std::string& bytes, TreeLimits limits = {}) {
    Status read = Read(bytes, limits);
    return read ? "" : read.error().code;
  }
  std::string base_;
  std::string root_;
};

TEST_F(GuestChanges, IsCarriedOut) {
  std::ofstream(root_ + "/old") << "old";
  fs::create_directories(root_ + "/opaque/below");
  const std::string bytes = File("new", "bytes") + Record(TreeTag::kRemoved, "old") +
                            Record(TreeTag::kEnter, "opaque", {0750, 1}) + File("in", "x") +
                            Record(TreeTag::kLeave) + Link("link", "../outside/file") +
                            Record(TreeTag::kFifo, "fifo", {0600}) +
                            Record(TreeTag::kComplete, "", {6});
  ASSERT_EQ(CodeOf(bytes), "");
  EXPECT_FALSE(fs::exists(root_ + "/old"));
  EXPECT_FALSE(fs::exists(root_ + "/opaque/below"));
  EXPECT_TRUE(fs::exists(root_ + "/opaque/in"));
  EXPECT_EQ(fs::file_size(root_ + "/new"), 5u);
  EXPECT_TRUE(fs::is_fifo(root_ + "/fifo"));
}

// L13: no name leads outside, no link is followed, and no directory is left too often.
TEST_F(GuestChanges, NeverLeavesItsDirectory) {
  for (const std::string& name : std::vector<std::string>{
           "..", ".", "a/b", "/etc", std::string("n\0l", 3), std::string(256, 'n')})
    EXPECT_EQ(CodeOf(File(name, "x")), "microvm.tree") << name;
  EXPECT_EQ(CodeOf(Record(TreeTag::kLeave)), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kEnter, "d", {0755, 0}) + Record(TreeTag::kLeave) +
                   Record(TreeTag::kLeave)),
            "microvm.tree");
  // A link that it made itself becomes a directory when it is entered, and is replaced when it is
  // written.
  ASSERT_EQ(CodeOf(Link("way", base_ + "/outside") + Record(TreeTag::kEnter, "way", {0755, 0}) +
                   File("file", "overwritten") + Record(TreeTag::kLeave) +
                   Link("other", base_ + "/outside/file") + File("other", "overwritten") +
                   Record(TreeTag::kComplete, "", {5})),
            "");
  std::ifstream in(base_ + "/outside/file");
  std::string text;
  in >> text;
  EXPECT_EQ(text, "untouched");
  EXPECT_FALSE(fs::is_symlink(root_ + "/way"));
}

TEST_F(GuestChanges, IsRefusedWhereItIsNone) {
  EXPECT_EQ(CodeOf("\xff\xff\xff\xff"), "microvm.frame");
  EXPECT_EQ(CodeOf(Frame("")), "microvm.tree");
  EXPECT_EQ(CodeOf(Extent(0, "bytes of no file")), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFileEnd)), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4, 0}) + Extent(1, "four")), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4, 0}) + Extent(~0ull, "x")), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4, 0}) + Record(TreeTag::kRemoved, "g")),
            "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {04755, 0, 0})), "microvm.tree");  // no set-id bit
  EXPECT_EQ(CodeOf(Record(TreeTag::kComplete, "", {1})), "microvm.tree");
  EXPECT_EQ(CodeOf(File("f", "x")), "not whole");
  EXPECT_EQ(CodeOf(Record(TreeTag::kComplete, "", {0}) + File("f", "x")), "microvm.tree");
}

// L14
TEST_F(GuestChanges, GiveAFileItsOtherNames) {
  const std::string bytes = File("one", "bytes", 1) + Record(TreeTag::kEnter, "d", {0000, 0}) +
                            File("other", "x", 2) + Record(TreeTag::kLink, "two", {1}) +
                            Record(TreeTag::kLeave) + Record(TreeTag::kLink, "three", {2}) +
                            File("else", "y", 1) + Record(TreeTag::kLink, "four", {1}) +
                            Record(TreeTag::kComplete, "", {7});
  std::ofstream(root_ + "/three") << "replaced";
  ASSERT_EQ(CodeOf(bytes), "");
  ::chmod((root_ + "/d").c_str(), 0700);
  EXPECT_TRUE(fs::equivalent(root_ + "/one", root_ + "/d/two"));
  EXPECT_TRUE(fs::equivalent(root_ + "/d/other", root_ + "/three")) << "out of a closed directory";
  EXPECT_TRUE(fs::equivalent(root_ + "/else", root_ + "/four")) << "a number is given again";
  EXPECT_EQ(fs::hard_link_count(root_ + "/one"), 2u);
}

// No name leads to a file that the stream has not made itself.
TEST_F(GuestChanges, NameNoFileThatIsNotTheirs) {
  std::ofstream(root_ + "/base") << "of the base";
  EXPECT_EQ(CodeOf(Record(TreeTag::kLink, "n", {1})), "microvm.tree");
  EXPECT_EQ(CodeOf(File("f", "x") + Record(TreeTag::kLink, "n", {0})), "microvm.tree");
  EXPECT_EQ(CodeOf(File("f", "x", TreeReader::kMaxLinked + 1)), "microvm.tree");
  EXPECT_EQ(CodeOf(File("f", "x", 1) + Record(TreeTag::kLink, "..", {1})), "microvm.tree");
  // Gone, and a link to somewhere else in its place.
  EXPECT_EQ(CodeOf(File("g", "x", 1) + Record(TreeTag::kRemoved, "g") +
                   Link("g", base_ + "/outside/file") + Record(TreeTag::kLink, "n", {1})),
            "microvm.tree");
  ASSERT_EQ(CodeOf(File("h", "x", 1) + Link("h", base_ + "/outside/file") + File("h", "y", 1) +
                   Record(TreeTag::kLink, "n", {1}) + Record(TreeTag::kComplete, "", {4})),
            "");
  EXPECT_TRUE(fs::equivalent(root_ + "/h", root_ + "/n"));
  EXPECT_EQ(fs::hard_link_count(base_ + "/outside/file"), 1u);
}

// Who only looks sees each file by itself, across the records that it comes in.
TEST_F(GuestChanges, AreToldWithoutBeingMade) {
  std::vector<std::string> told;
  auto look = [&](const std::string& bytes, TreeLimits limits = {}) -> std::string {
    told.clear();
    TreeContents contents(limits, {[&] { told.emplace_back(); },
                                   [&](std::string_view more) { told.back() += more; }});
    Status read = contents.Add(bytes);
    return read ? (contents.complete() ? "" : "not whole") : read.error().code;
  };
  const std::string end = Record(TreeTag::kComplete, "", {2});
  const std::string two = Record(TreeTag::kFile, "f", {0644, 9, 0}) + Extent(0, "ab") +
                          Extent(2, "cd") + Extent(8, "e") + Record(TreeTag::kFileEnd) +
                          Link("l", "target");
  EXPECT_EQ(look(two + end), "");
  EXPECT_EQ(told, (std::vector<std::string>{"f", "abcd", "e", "l", "target"}));
  EXPECT_EQ(look(two), "not whole");
  EXPECT_EQ(look(two + end + end), "microvm.tree");
  EXPECT_EQ(look(two + Record(TreeTag::kComplete, "", {3})), "microvm.tree");
  EXPECT_EQ(look(Record(TreeTag::kLeave)), "microvm.tree");
  EXPECT_EQ(look(Extent(0, "of no file")), "microvm.tree");
  EXPECT_EQ(look(two + end, {.bytes = 4, .entries = 0}), "microvm.tree_too_large");
  EXPECT_EQ(look(two + end, {.bytes = 0, .entries = 1}), "microvm.tree_too_large");
}

TEST_F(GuestChanges, StopsAtItsLimits) {
  EXPECT_EQ(CodeOf(File("f", std::string(100, 'x')), {.bytes = 99, .entries = 0}),
            "microvm.tree_too_large");
  EXPECT_EQ(CodeOf(File("f", "x") + File("g", "x"), {.bytes = 0, .entries = 1}),
            "microvm.tree_too_large");
  std::string deep;
  for (std::size_t i = 0; i <= TreeReader::kMaxDepth; ++i)
    deep += Record(TreeTag::kEnter, "d", {0755, 0});
  EXPECT_EQ(CodeOf(deep), "microvm.tree_too_large");
}

}  // namespace
}  // namespace writ::test
