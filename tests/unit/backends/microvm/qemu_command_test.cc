#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "writ/backends/microvm/qemu_command.h"

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
  spec.base = "/machine/base.erofs";
  return spec;
}

std::string Line(const std::vector<std::string>& command) {
  std::string line;
  for (const std::string& word : command) line += word + " ";
  return line;
}

TEST(QemuCommand, GivesNoNetworkAndWritesNothing) {  // L26
  const std::string line = Line(QemuCommand(Spec(), {}));
  EXPECT_THAT(line, Not(HasSubstr("net")));
  EXPECT_THAT(line, HasSubstr("-nodefaults"));
  EXPECT_THAT(line, HasSubstr("-no-reboot"));
  EXPECT_THAT(line, HasSubstr("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                              "resourcecontrol=deny"));
  EXPECT_THAT(line, HasSubstr("node-name=root,read-only=on"));
  EXPECT_THAT(line, HasSubstr("node-name=inputs,read-only=on"));
  EXPECT_THAT(line, HasSubstr("node-name=base,read-only=on"));
}

TEST(QemuCommand, KeepsAPathInOneOption) {  // L2
  EXPECT_THAT(QemuCommand(Spec(), {}), Contains("driver=raw,node-name=root,read-only=on,file."
                                                "driver=file,file.filename=/images/a,,b/root"));
}

// A snapshot of a machine without the drive is refused, not restored into one that has it.
TEST(QemuCommand, IsAnotherMachineWithAnotherDriveWhateverIsBehindIt) {
  MachineSpec other = Spec();
  other.base = "/elsewhere";
  EXPECT_EQ(QemuLayout(other), QemuLayout(Spec()));
  EXPECT_NE(Line(QemuCommand(other, {})), Line(QemuCommand(Spec(), {})));
  other.base.clear();
  EXPECT_NE(QemuLayout(other), QemuLayout(Spec()));
}

TEST(QemuCommand, SparesAnEmulatedGuestItsCalibrationAndNoOther) {
  MachineSpec spec = Spec();
  EXPECT_THAT(QemuCommand(spec, {}), Contains(HasSubstr("tsc_early_khz=2100000 tsc=reliable")));
  spec.acceleration = Acceleration::kKvm;
  EXPECT_THAT(QemuCommand(spec, {}), Not(Contains(HasSubstr("tsc_early_khz"))));
  EXPECT_THAT(QemuCommand(spec, {}), Contains("kvm"));
}

}  // namespace
}  // namespace writ::test
