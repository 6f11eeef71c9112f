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
std::string File(const std::string& name, const std::string& bytes) {
  return Record(TreeTag::kFile, name, {0644, bytes.size()}) + Extent(0, bytes) +
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
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4}) + Extent(1, "four")), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4}) + Extent(~0ull, "x")), "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {0644, 4}) + Record(TreeTag::kRemoved, "g")),
            "microvm.tree");
  EXPECT_EQ(CodeOf(Record(TreeTag::kFile, "f", {04755, 0})), "microvm.tree");  // no set-id bit
  EXPECT_EQ(CodeOf(Record(TreeTag::kComplete, "", {1})), "microvm.tree");
  EXPECT_EQ(CodeOf(File("f", "x")), "not whole");
  EXPECT_EQ(CodeOf(Record(TreeTag::kComplete, "", {0}) + File("f", "x")), "microvm.tree");
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
