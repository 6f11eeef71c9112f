// What this backend adds, beside what the suite asks of every one.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <writ/backends/registry.h>

#include <filesystem>

#include "toolchain_tier.h"

namespace {

namespace fs = std::filesystem;
using namespace writ::backends;

class Kept final : public OutputSink {
 public:
  void OnOutput(Stream, std::string_view bytes, std::chrono::nanoseconds) override {
    text += bytes;
  }
  void OnLeftOut(Stream, std::uint64_t) override {}
  std::string text;
};

TEST(Toolchain, IsSeenByJobsAndCannotBeChanged) {
  std::string base = "/var/tmp/toolchain-test-XXXXXX";
  ASSERT_NE(::mkdtemp(base.data()), nullptr);
  ASSERT_EQ(::chmod(base.c_str(), 0711), 0);
  Plan plan;
  plan.identity.uid = ::geteuid() == 0 ? 1'999'999 : ::geteuid();
  plan.identity.gid = ::geteuid() == 0 ? 1'999'999 : ::getegid();
  for (const char* name : {"/workspace", "/session"}) fs::create_directory(base + name);
  ASSERT_EQ(::chmod((base + "/session").c_str(), 0711), 0);
  ASSERT_EQ(::chown((base + "/workspace").c_str(), plan.identity.uid, plan.identity.gid), 0);
  plan.run_id = "run_toolchain";
  plan.workspace = PlainWorkspace{base + "/workspace"};
  plan.session_dir = base + "/session";
  plan.argv = {"/bin/sh", "-c",
               "cat /opt/toolchain/version; touch /opt/toolchain/planted 2>/dev/null || echo kept"};

  BackendRegistry registry;
  ASSERT_TRUE(registry.Add(example::MakeToolchainBackend(
      {.launched = {.launcher = std::string(::getenv("LIBEXEC")) + "/writ-launch"}},
      ::getenv("TOOLCHAIN"))));
  auto backend = registry.Resolve(Tier::kSandbox);
  ASSERT_TRUE(backend) << backend.error().ToString();
  plan.tier = (*backend)->GetTier();
  auto job = (*backend)->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  Kept out;
  const Outcome outcome = (*job)->Watch(out, {});
  EXPECT_EQ(outcome.kind, Outcome::Kind::kExited) << outcome.reason;
  EXPECT_EQ(out.text, "toolchain 1.0\nkept\n");
  EXPECT_TRUE((*job)->Dismantle().leaks.empty());
  fs::remove_all(base);
}

}  // namespace
