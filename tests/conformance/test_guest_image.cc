#include "conformance/test_guest_image.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace microvm = backends::microvm;

namespace {

[[noreturn]] void GiveUp(const std::string& why) {
  std::fprintf(stderr, "no guest image for tests: %s\n", why.c_str());
  std::abort();
}

}  // namespace

std::string TestGuestImages() {
  const std::string base = fs::path(TestImages()).parent_path();
  const backends::image::ImageStore store = microvm::GuestStore(base);
  auto folder = OpenDirectory(base);
  const bool mine = folder && ::flock(folder->get(), LOCK_EX) == 0;
  auto there = store.Find("default");
  const std::string bin = BinDir();
  // Made anew when a program in it was.
  const auto newest = std::max(fs::last_write_time(bin + "/writ-guest-agent"),
                               fs::last_write_time(bin + "/writ-launch"));
  if (there) {
    auto held = store.Hold("default");
    if (held && fs::last_write_time(held->root + "/../image.json") > newest) return base;
  }
  if (!mine) GiveUp("the folder of test images cannot be locked");
  auto root = backends::image::ImageStore(TestImages()).Hold("host");
  if (!root) GiveUp(root.error().ToString());
  microvm::GuestBuild build;
  build.root = root->root;
  build.agent = bin + "/writ-guest-agent";
  build.launcher = bin + "/writ-launch";
  build.version = "test";
  build.name = "default";
  if (auto made = microvm::BuildGuestImage(store, build); !made) GiveUp(made.error().ToString());
  return base;
}

}  // namespace writ::test
