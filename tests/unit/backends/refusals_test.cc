// What this host lacks is refused with its cause and its mend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/places.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/linux/user_namespace.h"
#include "writ/backends/sandbox/sandbox_tier.h"
#include "writ/backends/sandbox_backend.h"

namespace writ::backends {
namespace {

using testing::HasSubstr;

// writ-launch in a user namespace that may make no other, as under user.max_user_namespaces=0.
std::string LauncherWithoutNamespaces(const std::string& dir) {
  const std::string path = dir + "/launch";
  std::ofstream(path) << "#!/bin/sh\nexec unshare -r sh -c "
                         "'echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"' "
                      << test::BinDir() << "/writ-launch \"$@\"\n";
  ::chmod(path.c_str(), 0755);
  return path;
}

TEST(Refusals, OfAHostWithoutUserNamespacesNameTheSettings) {
  if (!ProbeUserNamespace()) GTEST_SKIP() << "there are none here to take away";
  std::string dir = "/var/tmp/writ-refusals-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  auto backend = MakeSandboxBackend({.launched = {.launcher = LauncherWithoutNamespaces(dir)}});
  const Capabilities& can = backend->Probe();
  EXPECT_FALSE(can.usable);
  EXPECT_THAT(can.unusable_reason, HasSubstr("the job cannot have namespaces of its own"));
  EXPECT_THAT(can.unusable_reason, HasSubstr("No space left on device"));
  EXPECT_THAT(can.unusable_mend, HasSubstr("user.max_user_namespaces"));
  Plan plan;
  plan.tier = Tier::kSandbox;
  plan.run_id = "r";
  plan.argv = {"true"};
  plan.workspace = PlainWorkspace{"/w"};
  plan.session_dir = "/s";
  plan.identity = {.uid = 61000, .gid = 61000};
  Status checked = backend->Check(plan);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "sandbox.unusable");
  EXPECT_EQ(checked.error().hint, can.unusable_mend);
  std::filesystem::remove_all(dir);
}

// Who made a link on the way could lead it elsewhere after it was looked at (L13).
TEST(Refusals, OfAPathThatLeadsThroughASymbolicLinkNameTheLink) {
  std::string dir = "/var/tmp/writ-refusals-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  ::chmod(dir.c_str(), 0711);
  std::filesystem::create_directory(dir + "/there");
  std::filesystem::create_directory_symlink(dir, dir + "/link");
  const Identity identity{.uid = 61000, .gid = 61000};
  EXPECT_TRUE(CheckReachable(dir + "/there", identity));
  for (const std::string& path : {dir + "/link/there", dir + "/link"}) {
    Status checked = CheckReachable(path, identity);
    ASSERT_FALSE(checked) << path;
    EXPECT_EQ(checked.error().code, "job.path_is_link");
    EXPECT_EQ(checked.error().kind, ErrorKind::kInvalid);
    EXPECT_THAT(checked.error().message, HasSubstr("symbolic link " + dir + "/link"));
    EXPECT_FALSE(checked.error().hint.empty());
  }
  std::filesystem::remove_all(dir);
}

TEST(Refusals, OfAHostWithoutOverlaysNameTheKernelAndTheOtherWay) {
  HostFeatures host;
  host.namespaces.usable = true;
  host.namespaces.no_overlay_reason = "no such device";
  Plan plan;
  plan.tier = Tier::kSandbox;
  plan.workspace = WorkspaceMount{"/l", "/u", "/w"};
  Status checked = SandboxTier({}).CheckPlan(plan, host);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "sandbox.no_overlay");
  EXPECT_THAT(checked.error().message, HasSubstr("no such device"));
  EXPECT_THAT(checked.error().hint, HasSubstr("plain workspaces"));
  // And who asks first gets a plain workspace, and is told why (L47).
  const Capabilities can = SandboxTier({}).Describe(host);
  EXPECT_EQ(can.overlay_workspace, OverlayWorkspace::kNone);
  EXPECT_EQ(can.no_overlay_reason, "no such device");
  EXPECT_THAT(can.notes, testing::Contains(HasSubstr("no such device")));
}

// A service whose unit leaves out SYS_ADMIN, as docs/operations.md has it.
TEST(Refusals, OfOverlaysNameTheRightThatRootLacks) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's overlay needs no right";
  std::string dir = "/var/tmp/writ-refusals-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  const std::string launcher = dir + "/launch";
  std::ofstream(launcher) << "#!/bin/sh\nexec setpriv --bounding-set -sys_admin " << test::BinDir()
                          << "/writ-launch \"$@\"\n";
  ::chmod(launcher.c_str(), 0755);
  const auto backend = MakeSandboxBackend({.launched = {.launcher = launcher}});
  const Capabilities& can = backend->Probe();
  EXPECT_EQ(can.overlay_workspace, OverlayWorkspace::kNone);
  EXPECT_THAT(can.no_overlay_reason, HasSubstr("Operation not permitted"));
  EXPECT_THAT(can.no_overlay_reason, HasSubstr("root without CAP_SYS_ADMIN"));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace writ::backends
