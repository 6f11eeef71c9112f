// Declared output files, out of workspaces that a hostile job has left.
#include "session/artifacts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSecret = "correct-horse-battery-staple";

class Artifacts : public ::testing::Test {
 protected:
  Artifacts() {
    char name[] = "/tmp/writ-artifacts-XXXXXX";
    root_ = mkdtemp(name);
    fs::create_directories(root_ + "/tree");
    fs::create_directories(root_ + "/out");
    tree_ = *OpenDirectory(root_ + "/tree");
    out_ = *OpenDirectory(root_ + "/out");
    std::vector<NamedSecret> secrets;
    secrets.push_back({"TOKEN", Secret(std::string(kSecret))});
    redactor_ = *Redactor::Build(secrets);
    order_.tree = workspace::MergedTree::Plain(tree_.get());
    order_.out = out_.get();
    order_.redactor = &*redactor_;
    order_.clock = &clock_;
  }
  ~Artifacts() override { fs::remove_all(root_); }

  void Write(const std::string& path, std::string_view bytes) {
    const fs::path full = root_ + "/tree/" + path;
    fs::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << bytes;
  }
  ArtifactSet Collect(std::vector<std::string> globs) {
    order_.globs = std::move(globs);
    return CollectArtifacts(order_);
  }
  static std::string Paths(const ArtifactSet& set) {
    std::string out;
    for (const ArtifactFile& file : set.files) out += (out.empty() ? "" : " ") + file.path;
    return out;
  }
  static std::string Codes(const ArtifactSet& set) {
    std::string out;
    for (const ArtifactFinding& finding : set.findings)
      out += (out.empty() ? "" : " ") + finding.code + ":" + finding.path;
    return out;
  }
  std::string Kept(const ArtifactFile& file) {
    return ReadFile(root_ + "/out/" + file.digest.ToHex(), 1 << 24).value_or("missing");
  }

  SystemClock clock_;
  std::string root_;
  UniqueFd tree_, out_;
  std::optional<Redactor> redactor_;
  ArtifactOrder order_{workspace::MergedTree::Plain(-1)};
};

TEST_F(Artifacts, AreTheFilesThatTheGlobsNameUnderTheirHashes) {
  Write("out/a.txt", "alpha");
  Write("out/deep/er/b.txt", "beta");
  Write("out/c.bin", std::string("\0\1\2", 3));
  Write("other.txt", "no");
  Write("empty.log", "");
  ArtifactSet set = Collect({"out/**", "empty.log", "nothing/*.there"});
  EXPECT_FALSE(set.failure);
  EXPECT_EQ(Paths(set), "empty.log out/a.txt out/c.bin out/deep/er/b.txt");
  for (const ArtifactFile& file : set.files) {
    EXPECT_EQ(protocol::Sha256(Kept(file)), file.digest) << file.path;  // L15
    EXPECT_EQ(Kept(file).size(), file.bytes);
  }
}

TEST_F(Artifacts, AreLookedForOnlyWhereAGlobLeads) {
  for (int i = 0; i < 300; ++i) Write("source/" + std::to_string(i), "x");
  Write("dist/app/a.txt", "1");
  Write("dist/b.txt", "2");
  Write("d/c.txt", "3");
  order_.limits.max_entries = 20;
  EXPECT_EQ(Paths(Collect({"dist/app/*.txt"})), "dist/app/a.txt");
  EXPECT_EQ(Paths(Collect({"dist/**"})), "dist/app/a.txt dist/b.txt");
  EXPECT_EQ(Paths(Collect({"d*/c.txt", "d?st/b.txt"})), "d/c.txt dist/b.txt");
  EXPECT_TRUE(Collect({"**/c.txt"}).failure) << "which leads everywhere";
  EXPECT_TRUE(Collect({"c.txt"}).failure);
}

// L13, L14
TEST_F(Artifacts, FollowNoLinkOutOfTheTree) {
  std::ofstream(root_ + "/outside.txt") << "host's own";
  fs::create_symlink(root_ + "/outside.txt", root_ + "/tree/direct.txt");
  fs::create_directory_symlink(root_, root_ + "/tree/folder");
  fs::create_symlink("../../outside.txt", root_ + "/tree/up.txt");
  Write("good.txt", "good");
  ArtifactSet set = Collect({"**"});
  EXPECT_EQ(Paths(set), "good.txt");
  EXPECT_EQ(Codes(set),
            "artifact.link_outside:direct.txt artifact.link_outside:folder "
            "artifact.link_outside:up.txt");
  order_.result = "folder/outside.txt";
  ArtifactSet through = Collect({});
  EXPECT_EQ(through.failure->code, "result.missing");
  EXPECT_EQ(Codes(through), "artifact.link_outside:folder");
  order_.result = "up.txt";
  EXPECT_EQ(Codes(Collect({})), "artifact.link_outside:up.txt");
}

// L13, L14: what is not looked into is said, and only where a declared file could have been.
TEST_F(Artifacts, ALinkOnTheWayToThemThatLeadsOutIsAFinding) {
  fs::create_directory_symlink("/etc", root_ + "/tree/out");
  fs::create_directory_symlink("/etc", root_ + "/tree/elsewhere");
  Write("deep/file.txt", "inside");
  fs::create_directory_symlink("../..", root_ + "/tree/deep/up");
  fs::create_directory_symlink(".", root_ + "/tree/deep/here");  // leads nowhere else
  ArtifactSet set = Collect({"out/*.conf", "deep/**/passwd"});
  EXPECT_EQ(Paths(set), "");
  EXPECT_EQ(Codes(set), "artifact.link_outside:deep/up artifact.link_outside:out");
}

TEST_F(Artifacts, DoNotWaitForAFifoOrOpenASocketOrADevice) {
  ASSERT_EQ(mkfifo((root_ + "/tree/pipe.txt").c_str(), 0666), 0);
  UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (root_ + "/tree/sock.txt").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ArtifactSet set = Collect({"*.txt"});
  EXPECT_EQ(Paths(set), "");
  EXPECT_FALSE(set.failure);
  EXPECT_EQ(set.findings.size(), 2u);
  order_.result = "pipe.txt";
  EXPECT_EQ(Collect({}).failure->code, "result.missing");
}

// L14: a limit is a failure, never a shorter list.
TEST_F(Artifacts, OverALimitFailTheRunWithTheLimitsName) {
  for (int i = 0; i < 2'000; ++i) Write("many/" + std::to_string(i), "x");
  order_.limits.max_entries = 1'000;
  ArtifactSet entries = Collect({"nothing"});
  ASSERT_TRUE(entries.failure);
  EXPECT_EQ(entries.failure->code, "artifacts.limit");
  EXPECT_NE(entries.failure->hint.find("maxEntries"), std::string::npos);
  order_.limits = {};
  order_.limits.max_files = 100;
  ArtifactSet files = Collect({"many/*"});
  ASSERT_TRUE(files.failure);
  EXPECT_NE(files.failure->hint.find("maxFiles"), std::string::npos);
  // Sparse: a terabyte that costs the job nothing.
  UniqueFd giant(open((root_ + "/tree/giant").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  ASSERT_EQ(ftruncate(giant.get(), std::int64_t{1} << 40), 0);
  order_.limits = {};
  ArtifactSet sparse = Collect({"giant"});
  ASSERT_TRUE(sparse.failure);
  EXPECT_NE(sparse.failure->hint.find("maxFileBytes"), std::string::npos);
  order_.limits.max_total_bytes = 50;
  ArtifactSet total = Collect({"many/*"});
  ASSERT_TRUE(total.failure);
}

TEST_F(Artifacts, DeeperThanAnyProgramNeedsAreRefused) {
  UniqueFd at = *OpenDirectory(root_ + "/tree");
  for (int depth = 0; depth < 1'000; ++depth) {
    ASSERT_EQ(mkdirat(at.get(), "d", 0755), 0);
    at = UniqueFd(openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  ArtifactSet set = Collect({"**"});
  ASSERT_TRUE(set.failure);
  EXPECT_EQ(set.failure->code, "artifacts.limit");
  ASSERT_TRUE(RemoveTreeBeneath(tree_.get(), "d"));
}

// L8, L9
TEST_F(Artifacts, WithASecretInAnyFormAreWithheld) {
  Write("plain.txt", "token: " + std::string(kSecret));
  Write("base64.bin", std::string(300'000, '\0') + Base64Encode("xy" + std::string(kSecret)));
  Write("hex.bin", HexEncode(kSecret));
  // Over the edge of two reads.
  Write("edge.bin", std::string(256 * 1024 - 10, 'a') + std::string(kSecret));
  Write("clean.txt", "nothing");
  ArtifactSet set = Collect({"**"});
  EXPECT_EQ(Paths(set), "clean.txt");
  EXPECT_EQ(Codes(set),
            "artifact.secret:base64.bin artifact.secret:edge.bin artifact.secret:hex.bin "
            "artifact.secret:plain.txt");
  order_.secret_in_file = SecretInFile::kRedactText;
  ArtifactSet redacted = Collect({"**"});
  EXPECT_EQ(Paths(redacted), "clean.txt edge.bin hex.bin plain.txt");  // text, binary is not
  EXPECT_EQ(Kept(redacted.files.back()), "token: [REDACTED:TOKEN]");
}

TEST_F(Artifacts, LeaveOutGitFoldersAndOtherUsersFiles) {
  Write(".git/config", "[core]");
  Write("sub/.git/hooks/post-checkout", "x");
  Write("sub/file", "x");
  EXPECT_EQ(Paths(Collect({"**"})), "sub/file");
  order_.owner = getuid() + 1;
  ArtifactSet foreign = Collect({"**"});
  EXPECT_EQ(Paths(foreign), "");
  EXPECT_EQ(Codes(foreign), "artifact.foreign:sub/file");
}

TEST_F(Artifacts, WithOddNamesKeepThem) {
  Write("new\nline", "1");
  Write("\xff\xfe", "2");
  Write(" blank ", "3");
  EXPECT_EQ(Collect({"**"}).files.size(), 3u);
}

TEST_F(Artifacts, ThatAreTheResultMustBeStrictJsonWithinItsBound) {
  auto verdict = [&](std::string_view text) {
    Write("result.json", text);
    order_.result = "result.json";
    ArtifactSet set = Collect({});
    if (set.failure) return set.failure->code;
    return Paths(set);
  };
  EXPECT_EQ(verdict("{\"score\": 1}"), "result.json");
  EXPECT_EQ(verdict("{\"a\":1,\"a\":2}"), "result.not_json");
  EXPECT_EQ(verdict("{} trailing"), "result.not_json");
  EXPECT_EQ(verdict(""), "result.not_json");
  EXPECT_EQ(verdict("{\"t\":\"" + std::string(kSecret) + "\"}"), "result.withheld");
  order_.limits.max_result_bytes = 8;
  EXPECT_EQ(verdict("[1,2,3,4,5]"), "result.too_large");
  order_.result = "absent.json";
  EXPECT_EQ(Collect({}).failure->code, "result.missing");
}

}  // namespace
}  // namespace writ::runner
