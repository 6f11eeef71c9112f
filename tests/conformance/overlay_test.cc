// A workspace of layers: what the job does stays in the upper one.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::OverlayWorkspace;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class OverlayConformance : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped()) return;
    if (backend_->Probe().overlay_workspace == OverlayWorkspace::kNone)
      GTEST_SKIP() << "this backend mounts no overlay here";
    for (const char* name : {"/lower", "/upper", "/work"}) fs::create_directory(job_.base() + name);
    for (const char* name : {"/upper", "/work"}) {
      const std::string dir = job_.base() + name;
      const backends::Identity own = job_.identity();
      ASSERT_EQ(::chown(dir.c_str(), own.uid, own.gid), 0);
    }
    fs::create_directory(lower_ + "/dir");
    std::ofstream(lower_ + "/kept") << "kept";
    std::ofstream(lower_ + "/changed") << "before";
    std::ofstream(lower_ + "/dir/removed") << "there";
    for (const char* name : {"/kept", "/changed"}) ::chmod((lower_ + name).c_str(), 0644);
  }
  backends::Plan OverlayPlan(const std::string& script) {
    backends::Plan plan = job_.Shell(script);
    plan.workspace =
        backends::WorkspaceMount{lower_, job_.base() + "/upper", job_.base() + "/work"};
    return plan;
  }
  const std::string lower_ = job_.base() + "/lower";
};

TEST_P(OverlayConformance, ChangesTheUpperLayerAndNeverTheLower) {  // L12
  JobRun run = Run(OverlayPlan(
      "cat kept; stat -c %u kept; echo after > changed; rm dir/removed; echo new > dir/new; "
      "ln kept linked && echo more >> linked; cat changed"));
  EXPECT_EQ(run.out, "kept" + UidInside() + "\nafter\n") << run.err;
  EXPECT_EQ(Read(lower_ + "/kept"), "kept");
  EXPECT_EQ(Read(lower_ + "/changed"), "before");
  EXPECT_TRUE(fs::exists(lower_ + "/dir/removed"));
  EXPECT_FALSE(fs::exists(lower_ + "/dir/new"));
  const std::string upper = job_.base() + "/upper";
  EXPECT_EQ(Read(upper + "/changed"), "after\n");
  EXPECT_EQ(Read(upper + "/dir/new"), "new\n");
  struct stat st {};
  ASSERT_EQ(::lstat((upper + "/dir/removed").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0);  // a whiteout
  ASSERT_EQ(::lstat((upper + "/changed").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, job_.identity().uid);
}

TEST_P(OverlayConformance, RefusesALayerThatIsASymbolicLink) {
  fs::create_directory_symlink(lower_, job_.base() + "/link");
  backends::Plan plan = OverlayPlan("true");
  std::get<backends::WorkspaceMount>(plan.workspace).lower = job_.base() + "/link";
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_FALSE(job);
  EXPECT_THAT(job.error().ToString(), testing::HasSubstr("symbolic link"));
  EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
}

// A backend without overlays is no gap in the suite.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OverlayConformance);
INSTANTIATE_TEST_SUITE_P(Backends, OverlayConformance,
                         testing::ValuesIn(conformance::OverlayNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
