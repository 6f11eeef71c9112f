#include "writ/backends/microvm/vmm_version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::HasSubstr;

std::string Judged(VmmKind kind, const std::string& line) {
  auto version = JudgeVmmVersion(kind, line);
  if (version) return version->text();
  EXPECT_EQ(version.error().kind, ErrorKind::kUnsupported) << line;
  return version.error().message + " " + version.error().hint;
}

TEST(VmmVersion, OfQemuIsReadAndJudged) {
  const auto kind = VmmKind::kQemu;
  EXPECT_EQ(Judged(kind, "QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright"), "7.2.22");
  EXPECT_EQ(Judged(kind, "QEMU emulator version 10.0.2"), "10.0.2");
  EXPECT_THAT(Judged(kind, "QEMU emulator version 7.1.9"), HasSubstr("older than 7.2"));
  EXPECT_THAT(Judged(kind, "QEMU emulator version 6.2.0"), HasSubstr("older than 7.2"));
  EXPECT_THAT(Judged(kind, "bochs 8"), HasSubstr("does not say"));
}

TEST(VmmVersion, OfFirecrackerIsRefusedWhereItIsOldVulnerableOrUnknown) {
  const auto kind = VmmKind::kFirecracker;
  for (const char* good : {"1.8.0", "1.12.1", "1.14.4", "1.15.1", "1.16.0", "1.16.1"})
    EXPECT_EQ(Judged(kind, std::string("Firecracker v") + good), good);
  EXPECT_THAT(Judged(kind, "Firecracker v1.7.0"), HasSubstr("older than 1.8"));
  for (const char* bad : {"1.13.0", "1.14.3", "1.15.0"})
    EXPECT_THAT(Judged(kind, std::string("Firecracker v") + bad), HasSubstr("CVE-2026-5747"));
  EXPECT_THAT(Judged(kind, "Firecracker v1.14.3"), HasSubstr("1.14.4"));
  EXPECT_THAT(Judged(kind, "Firecracker v1.17.0"), HasSubstr("newer than 1.16"));
  EXPECT_THAT(Judged(kind, "Firecracker v2.0.0"), HasSubstr("newer"));
  EXPECT_THAT(Judged(kind, "Firecracker vnext"), HasSubstr("no version"));
}

TEST(VmmVersion, OfCloudHypervisorIsRefusedWhereItIsOldVulnerableOrUnknown) {
  const auto kind = VmmKind::kCloudHypervisor;
  EXPECT_EQ(Judged(kind, "cloud-hypervisor v53.0"), "53.0.0");
  EXPECT_EQ(Judged(kind, "cloud-hypervisor v52.0-3-g12ab"), "52.0.0");
  EXPECT_THAT(Judged(kind, "cloud-hypervisor v39.0"), HasSubstr("older than 40"));
  for (const char* bad : {"40.0", "50.2", "51.2"})
    EXPECT_THAT(Judged(kind, std::string("cloud-hypervisor v") + bad), HasSubstr("CVE-2026-45782"));
  EXPECT_THAT(Judged(kind, "cloud-hypervisor v54.0"), HasSubstr("newer than 53"));
}

TEST(VmmVersion, IsReadStrictly) {
  for (const char* bad : {"", "v", "1", "1.", "1.2x", "1.2.3.4", "-1.2", "1.-2", "99999999999.1"})
    EXPECT_FALSE(ParseVmmVersion(bad)) << bad;
  EXPECT_EQ(ParseVmmVersion("v1.2.3-dirty")->text(), "1.2.3");
}

TEST(VmmIdentity, DiffersWithTheProcessorAndTheProgram) {
  const std::string one =
      "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n"
      "stepping\t: 8\nflags\t\t: fpu vme\n\nprocessor\t: 1\nflags\t: other\n";
  auto identity = CpuIdentity(one);
  ASSERT_TRUE(identity) << identity.error().ToString();
  EXPECT_TRUE(identity->starts_with("GenuineIntel 6 143 8 ")) << *identity;
  std::string other = one;
  other.replace(other.find("vme"), 3, "avx");
  EXPECT_NE(*CpuIdentity(other), *identity);
  EXPECT_FALSE(CpuIdentity("nothing"));

  auto shell = ReadVmmIdentity(VmmKind::kQemu, {7, 2, 0}, "/bin/sh");
  auto again = ReadVmmIdentity(VmmKind::kQemu, {7, 2, 0}, "/bin/sh");
  auto cat = ReadVmmIdentity(VmmKind::kQemu, {7, 2, 0}, "/bin/cat");
  ASSERT_TRUE(shell && again && cat);
  EXPECT_EQ(*shell, *again);
  EXPECT_NE(*shell, *cat);
  EXPECT_FALSE(ReadVmmIdentity(VmmKind::kQemu, {7, 2, 0}, "/nothing"));
}

}  // namespace
}  // namespace writ::test
