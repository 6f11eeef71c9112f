// Real checkouts after an unclean stop: one that was altered is never used again.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "overlay_harness.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

struct Tampering {
  const char* name;
  void (*apply)(const std::string& tree);
};

void PrintTo(const Tampering& tampering, std::ostream* out) {
  *out << tampering.name;
}

class CheckoutVerify : public ::testing::TestWithParam<Tampering> {
 protected:
  CheckoutVerify() {
    MakeRepository(dir_.path() + "/repo", {{"a", "aaaa\n"}, {"d/x", "x\n"}, {"d/y", "y\n"}});
    EXPECT_EQ(::symlink("a", (dir_.path() + "/repo/link").c_str()), 0);
    CommitAll(dir_.path() + "/repo", "with a link");
    manifest_ = ManifestOfHead(dir_.path() + "/repo", blobs_);
  }
  // Whether a run by a process that opened the caches anew used the checkout as it was.
  bool Run() {
    OverlayPlace place(dir_.Sub("run" + std::to_string(runs_++)), dir_.Sub("caches"));
    place.owner = std::nullopt;
    auto made = place.Materialize(manifest_, blobs_);
    EXPECT_TRUE(made.has_value()) << Explain(made.error());
    if (!made) return false;
    lower_ = made->lower_directory();
    EXPECT_EQ(Snapshot(lower_), Snapshot(dir_.path() + "/repo"));
    EXPECT_EQ(Git(lower_, {"status", "--porcelain"}), "");
    return made->checkout_was_cached();
  }
  void StopUncleanly() { WriteFileAt(dir_.path() + "/caches/checkouts/.running-killed", ""); }

  TempDir dir_;
  BlobFolder blobs_{dir_.Sub("blobs")};
  protocol::Manifest manifest_;
  std::string lower_;
  int runs_ = 0;
};

TEST_P(CheckoutVerify, MakesAnAlteredCheckoutAgainAfterAnUncleanStop) {  // L39
  EXPECT_FALSE(Run());
  StopUncleanly();
  EXPECT_TRUE(Run()) << "a sound one stays";
  GetParam().apply(lower_);
  StopUncleanly();
  EXPECT_FALSE(Run());
  EXPECT_TRUE(Run());
}

void Mark(const std::string& path, const char* name) {
  ASSERT_EQ(::setxattr(path.c_str(), name, "y", 1, 0), 0) << path;
}

const Tampering kTamperings[] = {
    {"Content", [](const std::string& t) { WriteFileAt(t + "/a", "aaab\n"); }},
    {"Cut", [](const std::string& t) { EXPECT_EQ(::truncate((t + "/a").c_str(), 0), 0); }},
    {"Mode", [](const std::string& t) { EXPECT_EQ(::chmod((t + "/a").c_str(), 0755), 0); }},
    {"Gone", [](const std::string& t) { fs::remove(t + "/d/x"); }},
    {"FolderGone", [](const std::string& t) { fs::remove_all(t + "/d"); }},
    {"Extra", [](const std::string& t) { WriteFileAt(t + "/d/extra", "x"); }},
    {"ExtraFolder", [](const std::string& t) { fs::create_directories(t + "/empty"); }},
    {"OtherLink",
     [](const std::string& t) {
       fs::remove(t + "/link");
       fs::create_symlink("/etc/passwd", t + "/link");
     }},
    {"LinkForAFile",
     [](const std::string& t) {
       fs::rename(t + "/d/x", t + "/../x");
       fs::create_symlink("../../x", t + "/d/x");
     }},
    {"HardLink", [](const std::string& t) { fs::create_hard_link(t + "/a", t + "/../b"); }},
    {"Hook", [](const std::string& t) { WriteFileAt(t + "/.git/hooks/pre-commit", "x", 0755); }},
    {"Config", [](const std::string& t) { WriteFileAt(t + "/.git/config", "[core]\n"); }},
    {"Index", [](const std::string& t) { WriteFileAt(t + "/.git/index", "DIRC"); }},
    {"NoMode", [](const std::string& t) { EXPECT_EQ(::chmod((t + "/a").c_str(), 0), 0); }},
    {"FolderMode", [](const std::string& t) { EXPECT_EQ(::chmod((t + "/d").c_str(), 0), 0); }},
    {"OpenFolder", [](const std::string& t) { EXPECT_EQ(::chmod((t + "/d").c_str(), 0777), 0); }},
    {"TreeMode", [](const std::string& t) { EXPECT_EQ(::chmod(t.c_str(), 0), 0); }},
    {"EntryMode", [](const std::string& t) { EXPECT_EQ(::chmod((t + "/..").c_str(), 0), 0); }},
    {"IndexMode",
     [](const std::string& t) { EXPECT_EQ(::chmod((t + "/.git/index").c_str(), 0), 0); }},
    {"OpaqueFolder", [](const std::string& t) { Mark(t + "/d", "user.overlay.opaque"); }},
    {"OpaqueTree", [](const std::string& t) { Mark(t, "user.overlay.opaque"); }},
    {"WhiteoutFile", [](const std::string& t) { Mark(t + "/d/x", "user.overlay.whiteout"); }},
    {"MarkOfGit", [](const std::string& t) { Mark(t + "/.git", "user.overlay.opaque"); }},
    {"Facts", [](const std::string& t) { WriteFileAt(t + "/../facts", "{}"); }},
};

// What a job of the process tier with the runner's own uid can do, and needs no unclean stop for.
TEST_P(CheckoutVerify, MakesACheckoutAgainThatAJobOfOurUidAltered) {
  EXPECT_FALSE(Run());
  EXPECT_TRUE(Run());
  {
    auto cache = CheckoutCache::Open(dir_.path() + "/caches/checkouts", {}).value();
    const CheckoutExposure job = cache->Expose();
    GetParam().apply(lower_);
  }
  EXPECT_FALSE(Run());
  EXPECT_TRUE(Run());
}

INSTANTIATE_TEST_SUITE_P(Tamperings, CheckoutVerify, ::testing::ValuesIn(kTamperings),
                         [](const ::testing::TestParamInfo<Tampering>& one) {
                           return std::string(one.param.name);
                         });

}  // namespace
}  // namespace writ::workspace::test
