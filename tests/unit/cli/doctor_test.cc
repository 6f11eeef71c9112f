#include "doctor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "machine_layers.h"
#include "writ/backends/microvm/microvm_backend.h"

namespace writ::cli {
namespace {

TEST(Doctor, KnowsUidsThatTheNamespaceDoesNotHave) {
  const runner::UidRange range{2'000'000'000, 3};
  EXPECT_TRUE(UidsAreMapped("         0          0 4294967295\n", range));
  EXPECT_FALSE(UidsAreMapped("0 100000 65536\n", range));
  EXPECT_TRUE(UidsAreMapped("2000000001 7 2\n0 0 1\n2000000000 5 1\n", range)) << "in two pieces";
  EXPECT_FALSE(UidsAreMapped("2000000000 5 1\n2000000002 7 2\n", range)) << "with a gap";
  EXPECT_FALSE(UidsAreMapped("", range));
}

// LookAtRuntimes with nothing on the PATH but these programs.
std::vector<Layer> RuntimesOf(std::initializer_list<const char*> programs) {
  char folder[] = "/tmp/writ-doctor-XXXXXX";
  EXPECT_NE(::mkdtemp(folder), nullptr);
  const std::string path = ::getenv("PATH") != nullptr ? ::getenv("PATH") : "";
  for (const char* program : programs)
    ::close(::open((std::string(folder) + "/" + program).c_str(), O_CREAT | O_WRONLY, 0700));
  ::setenv("PATH", folder, 1);
  std::vector<Layer> layers = LookAtRuntimes();
  ::setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(folder);
  return layers;
}

// There or not, each is told with the tier that uses it; what is absent and used also with its
// mend.
TEST(Doctor, SaysOfEveryRuntimeWhatUsesItAndHowItIsInstalled) {  // L43
  for (const bool there : {true, false}) {
    const std::vector<Layer> layers =
        there ? RuntimesOf({"crun", "runc", "runsc", "qemu-system-x86_64", "firecracker",
                            "cloud-hypervisor"})
              : RuntimesOf({});
    int used = 0;
    for (const Layer& layer : layers) {
      const bool container = layer.name == "crun" || layer.name == "runc" || layer.name == "gvisor";
      const bool machine =
          layer.name == "qemu" || layer.name == "firecracker" || layer.name == "cloud-hypervisor";
      EXPECT_EQ(layer.found.find("the container tier uses it") != std::string::npos, container)
          << layer.found;
      EXPECT_EQ(layer.found.find("the microvm tier uses it") != std::string::npos, machine)
          << layer.found;
      EXPECT_EQ(layer.found.find("no backend of this build uses it") != std::string::npos,
                !container && !machine)
          << layer.found;
      if (!container && !machine) continue;
      ++used;
      EXPECT_EQ(layer.health, there ? Health::kGood : Health::kAbsent) << layer.name;
      EXPECT_EQ(layer.mend.find("install") != std::string::npos, !there) << layer.name;
    }
    EXPECT_EQ(used, 6);
  }
}

TEST(Doctor, SaysWhatIsMissingWithCauseAndMend) {
  DoctorReport report;
  report.layers = {
      {"disk", Health::kGood, "1 GiB", "", ""},
      {"plane", Health::kBad, "https://plane\x1b[31m", "it does not answer", "start it"}};
  const std::string text = RenderDoctor(report);
  EXPECT_NE(text.find("cause: it does not answer"), std::string::npos);
  EXPECT_NE(text.find("mend:  start it"), std::string::npos);
  EXPECT_NE(text.find("missing: plane"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const json::Value value = DoctorJson(report);
  EXPECT_EQ(value.Find("layers")->array()[1].FindString("health"), "missing");
}

TEST(Ladder, SaysForEachTierWhatHoldsWhatAndWhyNot) {
  backends::Capabilities process;
  process.backend = "process";
  process.version = "writ";
  process.usable = true;
  process.files = {backends::Enforcement::kKernel, "landlock abi 7", "", ""};
  process.network = {backends::Enforcement::kAdvisory, "proxy variables", "old\x1b[31m kernel",
                     "Linux 5.9"};
  process.limits = {
      {backends::LimitKind::kMemory, backends::LimitHolder::kRlimit, false, "per process"}};
  backends::Capabilities container;
  container.tier = backends::Tier::kContainer;
  container.backend = "container";
  container.unusable_reason = "there is no OCI runtime";
  container.unusable_mend = "install crun";
  const std::vector<Rung> ladder = {
      {backends::Tier::kProcess, {process}, false, true},
      {backends::Tier::kContainer, {container}, true, false},
      {backends::Tier::kMicrovm, {}, false, false},
  };
  const std::string text = RenderLadder(ladder);
  for (const char* part :
       {"process   yes, below this runner's minimum", "kernel   landlock abi 7",
        "advisory proxy variables", "mend: Linux 5.9", "memory rlimit (not for a contract",
        "container no, the default", "container: there is no OCI runtime", "install crun",
        "microvm   no", "no backend"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const json::Value value = LadderJson(ladder);
  ASSERT_EQ(value.array().size(), 3u);
  EXPECT_EQ(*value.array()[0].Find("belowMinimum"), json::Value(true));
  const json::Value& backend = value.array()[0].Find("backends")->array()[0];
  EXPECT_EQ(backend.Find("limits")->Find("memory")->FindString("holder"), "rlimit");
  EXPECT_EQ(backend.Find("enforcement")->Find("network")->FindString("mend"), "Linux 5.9");
  EXPECT_EQ(value.array()[1].Find("backends")->array()[0].FindString("reason"),
            "there is no OCI runtime");
  EXPECT_TRUE(value.array()[2].FindString("reason"));
}

TEST(Ladder, HasARungForEveryTierAlsoWithoutABackend) {
  backends::BackendRegistry none;
  runner::RunnerConfig config;
  config.default_isolation = "sandbox";
  config.minimum_isolation = "sandbox";
  const std::vector<Rung> ladder = LookAtLadder(none, config);
  ASSERT_EQ(ladder.size(), 4u);
  EXPECT_TRUE(ladder[0].below_minimum);
  EXPECT_FALSE(ladder[1].below_minimum);
  EXPECT_TRUE(ladder[1].is_default);
  for (const Rung& rung : ladder) EXPECT_FALSE(rung.usable());
}

TEST(Doctor, LooksAtThisMachineWithoutChangingIt) {
  EXPECT_NE(LookAtKernel().found.find("Linux"), std::string::npos);
  for (const Layer& layer : {LookAtUserNamespaces(), LookAtKvm(), LookAtCgroups(), LookAtMemory(),
                             LookAtDisk("/var/lib/writ/never/made")})
    EXPECT_FALSE(layer.found.empty()) << layer.name;
}

TEST(Doctor, SaysWhyMachinesHaveTheirMemoryCopied) {
  backends::PageOptions options;
  Status served = backends::MachinePagesCanBeServed(options);
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, "pages.off");
  options.program = options.preload = "/bin/sh";
  options.device = "/nowhere/userfaultfd";
  served = backends::MachinePagesCanBeServed(options);
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, "pages.userfaultfd");
  EXPECT_NE(served.error().message.find("/nowhere/userfaultfd"), std::string::npos);
  EXPECT_FALSE(served.error().hint.empty());
}

}  // namespace
}  // namespace writ::cli
