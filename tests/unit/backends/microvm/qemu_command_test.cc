#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "writ/backends/microvm/vmm.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

MachineSpec Spec() {
  MachineSpec spec;
  spec.memory_bytes = 256u << 20;
  spec.tsc_khz = 2'100'000;
  spec.kernel = "/machine/kernel";
  spec.initramfs = "/tmp/initramfs";
  spec.root = "/images/a,b/root";
  spec.inputs = "/tmp/inputs";
  return spec;
}

std::string Line(const std::vector<std::string>& command) {
  std::string line;
  for (const std::string& word : command) line += word + " ";
  return line;
}

TEST(QemuCommand, GivesNoNetworkAndWritesNothing) {  // L26
  const std::string line = Line(QemuCommand(Spec()));
  EXPECT_THAT(line, Not(HasSubstr("net")));
  EXPECT_THAT(line, HasSubstr("-nodefaults"));
  EXPECT_THAT(line, HasSubstr("-no-reboot"));
  EXPECT_THAT(line, HasSubstr("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                              "resourcecontrol=deny"));
  EXPECT_THAT(line, HasSubstr("readonly=on,id=root"));
  EXPECT_THAT(line, HasSubstr("readonly=on,id=inputs"));
}

TEST(QemuCommand, KeepsAPathInOneOption) {  // L2
  EXPECT_THAT(QemuCommand(Spec()),
              Contains("if=none,format=raw,readonly=on,id=root,file=/images/a,,b/root"));
}

TEST(QemuCommand, SparesAnEmulatedGuestItsCalibrationAndNoOther) {
  MachineSpec spec = Spec();
  EXPECT_THAT(QemuCommand(spec), Contains(HasSubstr("tsc_early_khz=2100000 tsc=reliable")));
  spec.acceleration = Acceleration::kKvm;
  EXPECT_THAT(QemuCommand(spec), Not(Contains(HasSubstr("tsc_early_khz"))));
  EXPECT_THAT(QemuCommand(spec), Contains("kvm"));
}

TEST(QemuVersion, IsReadAndJudged) {
  EXPECT_EQ(*QemuVersion("QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright"), "7.2.22");
  EXPECT_EQ(*QemuVersion("QEMU emulator version 10.0.2"), "10.0.2");
  for (const char* line :
       {"QEMU emulator version 7.1.9", "QEMU emulator version 6.2.0", "bochs 8"}) {
    auto version = QemuVersion(line);
    ASSERT_FALSE(version) << line;
    EXPECT_EQ(version.error().kind, ErrorKind::kUnsupported);
  }
}

}  // namespace
}  // namespace writ::test
