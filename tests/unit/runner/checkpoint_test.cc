// What a runner takes for a checkpoint, and what not.
#include "access/checkpoint_taking.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

namespace fs = std::filesystem;
using backends::Entry;
using backends::EntryEnd;

// Says `bytes` and ends with `code`; with none it never ends.
class Said final : public Entry {
 public:
  Said(std::string bytes, std::optional<int> code) : code_(code) {
    auto pipe = MakePipe();
    EXPECT_TRUE(pipe);
    output_ = std::move(pipe->read_end);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    writer_ =
        std::jthread([this, bytes = std::move(bytes), out = std::move(pipe->write_end)]() mutable {
          (void)WriteAll(out.get(), bytes).has_value();
          if (!code_) return;
          over_ = true;
          ::eventfd_write(ended_.get(), 1);
        });
  }
  ~Said() override { output_.reset(); }
  int input() const override { return -1; }
  int output() const override { return output_.get(); }
  int errors() const override { return -1; }
  void CloseInput() override {}
  Status Resize(TerminalSize) override { return {}; }
  Status Signal(int) override { return {}; }
  int event_fd() const override { return ended_.get(); }
  std::optional<EntryEnd> End() const override {
    if (!over_) return std::nullopt;
    ExitStatus status;
    status.code = *code_;
    return EntryEnd{status, {}};
  }

 private:
  const std::optional<int> code_;
  UniqueFd ended_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  UniqueFd output_;
  std::atomic<bool> over_{false};
  std::jthread writer_;
};

class Checkpoints : public testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // of who says more than is taken
    std::string pattern = "/tmp/writ-checkpoint-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    std::vector<NamedSecret> secrets;
    secrets.push_back({"TOKEN", Secret(kSecret)});
    redactor_ = Redactor::Build(secrets).value();
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << bytes;
  }
  std::string Stream() const {
    auto dir = OpenDirectory(dir_);
    UniqueFd file(::memfd_create("stream", MFD_CLOEXEC));
    EXPECT_TRUE(dir && backends::microvm::WriteTree(dir->get(), file.get()));
    ::lseek(file.get(), 0, SEEK_SET);
    auto bytes = ReadAll(file.get(), 64u << 20);
    return bytes ? *bytes : "";
  }
  Result<Checkpoint> Take(const std::string& bytes, std::optional<int> code = 0,
                          std::uint64_t most = 64u << 20) {
    Said said(bytes, code);
    kept_.reset(::memfd_create("kept", MFD_CLOEXEC));
    return TakeCheckpoint({said, *redactor_, most, kept_.get(), over_.get()});
  }
  std::string CodeOf(const std::string& bytes, std::optional<int> code = 0,
                     std::uint64_t most = 64u << 20) {
    auto taken = Take(bytes, code, most);
    return taken ? "" : taken.error().code;
  }
  static constexpr char kSecret[] = "s3cr3t-value-42";
  std::string dir_;
  std::optional<Redactor> redactor_;
  UniqueFd kept_;
  UniqueFd over_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
};

TEST_F(Checkpoints, AreKeptToTheByteUnderTheirHash) {
  Write("file", std::string(300'000, 'x'));
  fs::create_directory(dir_ + "/d");
  Write("d/other", "y");
  const std::string stream = Stream();
  auto taken = Take(stream);
  ASSERT_TRUE(taken) << taken.error().ToString();
  EXPECT_EQ(taken->digest, protocol::Sha256(stream));
  EXPECT_EQ(taken->bytes, stream.size());
  EXPECT_EQ(taken->entries, 3u);
  ::lseek(kept_.get(), 0, SEEK_SET);
  EXPECT_EQ(ReadAll(kept_.get(), 64u << 20).value(), stream);
}

// L9: wherever the stream cuts a file in two.
TEST_F(Checkpoints, WithASecretInThemAreNone) {
  constexpr std::size_t kExtent = 64 * 1024;
  for (const std::size_t before : {std::size_t{0}, kExtent - 5, 2 * kExtent - 14}) {
    Write("file", std::string(before, 'x') + kSecret + std::string(100, 'y'));
    EXPECT_EQ(CodeOf(Stream()), "checkpoint.secret") << before;
  }
  Write("file", "harmless");
  EXPECT_EQ(CodeOf(Stream()), "");
  ASSERT_EQ(::symlink(kSecret, (dir_ + "/link").c_str()), 0);
  EXPECT_EQ(CodeOf(Stream()), "checkpoint.secret");
  fs::remove(dir_ + "/link");
  Write(kSecret, "");
  EXPECT_EQ(CodeOf(Stream()), "checkpoint.secret");
}

// L15, L17: nothing less than the whole of a job that waited.
TEST_F(Checkpoints, ThatAreNotWholeAreNone) {
  Write("file", "bytes");
  const std::string stream = Stream();
  EXPECT_EQ(CodeOf(stream, backends::kCheckpointNotHeld), "checkpoint.not_held");
  EXPECT_EQ(CodeOf(stream, backends::kCheckpointUnread), "checkpoint.cut");
  for (std::size_t size = 0; size < stream.size(); ++size)
    EXPECT_EQ(CodeOf(stream.substr(0, size)), "checkpoint.cut") << size;
  EXPECT_EQ(CodeOf(stream + stream), "microvm.tree");
  EXPECT_EQ(CodeOf(stream, 0, stream.size() - 1), "checkpoint.too_large");
  ::eventfd_write(over_.get(), 1);
  EXPECT_EQ(CodeOf(stream, std::nullopt), "checkpoint.cut") << "the session is over";
}

}  // namespace
}  // namespace writ::runner
