#include "writ/backends/microvm/kernel_modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace writ::test {
namespace {

using backends::microvm::ModulesFor;

constexpr char kDep[] =
    "kernel/fs/overlayfs/overlay.ko:\n"
    "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko\n"
    "kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio.ko "
    "kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko "
    "kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/char/hw_random/virtio-rng.ko:\n";

TEST(KernelModules, ComeInTheOrderInWhichTheyCanBeLoaded) {
  auto modules = ModulesFor(kDep, "kernel/drivers/block/virtio_blk.ko\n");
  ASSERT_TRUE(modules) << modules.error().ToString();
  EXPECT_THAT(*modules,
              testing::ElementsAre(
                  "kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko",
                  "kernel/drivers/virtio/virtio_mmio.ko", "kernel/drivers/char/virtio_console.ko",
                  "kernel/drivers/char/hw_random/virtio-rng.ko", "kernel/fs/overlayfs/overlay.ko",
                  "kernel/lib/libcrc32c.ko", "kernel/fs/erofs/erofs.ko"));
}

TEST(KernelModules, NameTheDriversThatAKernelLacks) {
  auto modules = ModulesFor(kDep, "");
  ASSERT_FALSE(modules);
  EXPECT_EQ(modules.error().code, "microvm.kernel_drivers");
  EXPECT_THAT(modules.error().message, testing::HasSubstr("virtio_blk"));
}

}  // namespace
}  // namespace writ::test
