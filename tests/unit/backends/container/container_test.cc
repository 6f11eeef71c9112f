#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "container_tier.h"
#include "oci_config.h"
#include "runtime.h"
#include "staged_view.h"
#include "support/places.h"
#include "writ/backends/sandbox/image_view.h"
#include "writ/protocol/json.h"

namespace writ::backends {
namespace {

namespace fs = std::filesystem;

class ContainerTest : public testing::Test {
 protected:
  ContainerTest() {
    std::string pattern = "/var/tmp/writ-container-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base_ = pattern;
    fs::create_directories(base_ + "/root/opt/of-the-image");
    fs::create_directories(base_ + "/root/usr/bin");
    fs::create_directories(base_ + "/root/etc");
    fs::create_directories(base_ + "/root/home/of-the-image");
    fs::create_symlink("usr/bin", base_ + "/root/bin");
    fs::create_symlink("/var/lib", base_ + "/root/srv");
  }
  ~ContainerTest() override { fs::remove_all(base_); }

  std::string Fake(const std::string& name, const std::string& version_text) const {
    const std::string path = base_ + "/" + name;
    std::ofstream(path) << "#!/bin/sh\nprintf '%s\\n' '" << version_text << "'\n";
    ::chmod(path.c_str(), 0755);
    return path;
  }
  std::map<std::string, launch::ViewStep::Kind> View(const std::vector<std::string>& places) const {
    std::map<std::string, launch::ViewStep::Kind> out;
    auto view = ImageView({Tier::kContainer, kImagePlace}, base_ + "/root", places);
    EXPECT_TRUE(view);
    if (view)
      for (const launch::ViewStep& step : *view) out[step.target] = step.kind;
    return out;
  }
  std::string base_;
};

using Kind = launch::ViewStep::Kind;

TEST_F(ContainerTest, ShowsTheImageAndKeepsRoomForWhatIsTheJobs) {
  const auto view = View({});
  EXPECT_EQ(view.at("rootfs/usr"), Kind::kBind);
  EXPECT_EQ(view.at("rootfs/bin"), Kind::kSymlink);
  EXPECT_FALSE(view.contains("rootfs/home")) << "HOME is the job's own";
}

TEST_F(ContainerTest, TakesADirectoryApartWhereSomethingIsMountedBelowIt) {
  const auto view = View({"/opt/agent"});
  EXPECT_EQ(view.at("rootfs/opt"), Kind::kDirectory);
  EXPECT_EQ(view.at("rootfs/opt/of-the-image"), Kind::kBind);
  EXPECT_FALSE(View({"/opt/of-the-image"}).contains("rootfs/opt/of-the-image"));
}

// A link of the image must not lead what is made for the job to another place of the host.
TEST_F(ContainerTest, RefusesToMountBelowALinkOfTheImage) {
  auto view = ImageView({Tier::kContainer, kImagePlace}, base_ + "/root", {"/srv/agent"});
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code, "container.image_in_the_way");
  EXPECT_EQ(view.error().kind, ErrorKind::kUnsupported);
}

TEST_F(ContainerTest, ReadsWhatARuntimeSaysItIs) {
  EXPECT_EQ(ParseRuntimeVersion("crun version 1.8.1\ncommit: x\n", "crun"), "1.8.1");
  EXPECT_EQ(ParseRuntimeVersion("runc version 1.1.5+ds1\n", "runc"), "1.1.5+ds1");
  for (const char* other : {"", "crun", "crun version ", "crun version 1 2", "xcrun version 1"})
    EXPECT_EQ(ParseRuntimeVersion(other, "crun"), "") << other;
}

TEST_F(ContainerTest, SaysWhyARuntimeCannotBeUsed) {
  EXPECT_EQ(FindRuntime(Fake("good", "crun version 9.9")).reason, "");
  EXPECT_EQ(FindRuntime(Fake("good", "crun version 9.9")).version, "9.9");
  EXPECT_THAT(FindRuntime("no-such-runtime").reason, testing::HasSubstr("no OCI runtime"));
  EXPECT_THAT(FindRuntime(Fake("odd", "hello")).reason, testing::HasSubstr("does not say"));
  EXPECT_EQ(FindRuntime(Fake("runsc", "runsc version release-1")).reason, "");
  for (const char* old : {"crun version 0.21", "runc version 1.0.0-rc93+ds1"}) {
    const RuntimeFeatures found = FindRuntime(Fake("old", old));
    EXPECT_THAT(found.reason, testing::HasSubstr("too old")) << old;
    EXPECT_THAT(found.mend, testing::HasSubstr("crun 1.0, runc 1.0 or newer")) << old;
  }
  EXPECT_EQ(FindRuntime(Fake("new", "runc version 1.2.0-rc1")).reason, "");
  const std::string open = Fake("open", "crun version 9.9");
  ::chmod(open.c_str(), 0777);
  EXPECT_THAT(FindRuntime(open).reason, testing::HasSubstr("can be changed by others"));
  for (const char* word : {"good", "odd"})
    EXPECT_FALSE(FindRuntime(base_ + "/none-" + word).mend.empty());
}

TEST_F(ContainerTest, CallsEachRuntimeInItsWords) {
  RuntimeFeatures runtime;
  runtime.name = "crun";
  EXPECT_THAT(RuntimeCommand(runtime, "job", 5),
              testing::ElementsAre("/runtime/oci", "--root=/run/oci", "--cgroup-manager=disabled",
                                   "run", "--bundle", "/bundle", "--preserve-fds", "5", "job"));
  runtime.name = "runc";
  EXPECT_THAT(RuntimeCommand(runtime, "job", 4), testing::Contains("--rootless=true"));
  runtime.name = "runsc";
  EXPECT_THAT(
      RuntimeCommand(runtime, "job", 4),
      testing::ElementsAre("/runtime/oci", "--root=/run/oci", "--network=host", "--platform=ptrace",
                           "--ignore-cgroups", "run", "--bundle", "/bundle", "job"));
}

// WRIT_ACCEPT=1 writes the golden file anew.
void ExpectGolden(const std::string& made, const std::string& name) {
  const std::string path = writ::test::SourceDir() + "/tests/golden/container/" + name;
  if (std::getenv("WRIT_ACCEPT") != nullptr) std::ofstream(path) << made;
  std::ifstream in(path);
  EXPECT_EQ(made, std::string(std::istreambuf_iterator<char>(in), {})) << name;
  auto parsed = json::Parse(made);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->Find("linux")->Find("seccomp"), nullptr);
  EXPECT_TRUE(*parsed->Find("root")->Find("readonly")->if_bool());
}

TEST_F(ContainerTest, ConfigIsTheGoldenOne) {
  ExpectGolden(OciConfig("/.writ/launch", {{"/etc/passwd", "/job/etc/passwd"}},
                         launch::ContainerKernel::kHosts, SharedMemoryPlace({}),
                         launch::Entries::kAccepted) +
                   "\n",
               "config.json");
}

// As the staged view writes it: the places that a job writes are mounts of their own.
TEST_F(ContainerTest, ConfigForGvisorIsTheGoldenOne) {
  HostFeatures features;
  features.runtime.name = "runsc";
  features.runtime.path = "/usr/bin/runsc";
  std::vector<launch::ViewStep> job_view(3);
  job_view[0].kind = Kind::kTmpfs;
  job_view[0].target = "home/job";
  job_view[1].kind = Kind::kBind;
  job_view[1].access = launch::BindAccess::kReadWrite;
  job_view[1].target = "workspace";
  job_view[2].kind = Kind::kFile;
  job_view[2].target = "etc/passwd";
  const auto view = StagedView(features, "/launch", {}, job_view, SharedMemoryPlace({}),
                               launch::Entries::kAccepted);
  ASSERT_EQ(view.back().target, "bundle/config.json");
  ExpectGolden(view.back().source + "\n", "config-gvisor.json");
}

TEST_F(ContainerTest, ShowsTheRuntimeNoDataOfTheHost) {
  HostFeatures features;
  features.runtime.name = "crun";
  features.runtime.path = "/usr/bin/crun";
  launch::ViewStep bind;
  bind.kind = Kind::kBind;
  for (const char* target : {"usr", "etc/passwd", "etc/ssl/certs", "sys/devices/system/cpu"}) {
    bind.target = target;
    features.system_view.push_back(bind);
  }
  std::vector<std::string> seen;
  for (const auto& step : StagedView(features, "/launch", {}, {}, {}, launch::Entries::kRefused))
    seen.push_back(step.target);
  EXPECT_THAT(seen, testing::Contains("usr"));
  EXPECT_THAT(seen, testing::Not(testing::Contains("etc/passwd")));
  EXPECT_THAT(seen, testing::Not(testing::Contains("etc/ssl/certs")));
}

TEST_F(ContainerTest, IsUnusableWithAReasonWhereNoContainerCanBeMade) {
  const ContainerTier tier({.launched = {}, .images_dir = base_ + "/images"});
  HostFeatures features;
  features.filter = {{}};
  features.namespaces.usable = true;
  features.runtime.reason = "there is no OCI runtime";
  features.runtime.mend = "install crun";
  const Capabilities can = tier.Describe(features);
  EXPECT_FALSE(can.usable);
  EXPECT_THAT(can.unusable_reason, testing::HasSubstr("there is no OCI runtime"));
  EXPECT_EQ(can.unusable_mend, "install crun");
  EXPECT_EQ(can.files.enforcement, Enforcement::kNone);
}

// L4: a job never runs in another root than the one that was asked for.
TEST_F(ContainerTest, RefusesAPlanWhoseImageIsNotThere) {
  const ContainerTier tier({.launched = {}, .images_dir = base_ + "/images"});
  Plan plan;
  EXPECT_EQ(tier.CheckPlan(plan, {}).error().code, "container.no_image");
  EXPECT_NE(tier.CheckPlan(plan, {}).error().hint.find("--image"), std::string::npos);
  plan.image = "nowhere";
  const Status refused = tier.CheckPlan(plan, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "container.image_unknown");
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(refused.error().hint, testing::HasSubstr("writ image import"));
}

}  // namespace
}  // namespace writ::backends
