#include "conformance/machine_snapshots.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "conformance/job_fixture.h"
#include "conformance/test_guest_image.h"
#include "support/places.h"

namespace writ::test {
namespace fs = std::filesystem;

backends::MicrovmBackendOptions MachineOptions(const std::string& images_dir) {
  backends::MicrovmBackendOptions options;
  options.launched.launcher = BinDir() + "/writ-launch";
  options.machine_program = BinDir() + "/writ-vm";
  options.images_dir = images_dir;
  options.pages.program = BinDir() + "/writ-pages";
  options.pages.preload = BinDir() + "/libwrit-uffd.so";
  return options;
}

MachineSnapshots::MachineSnapshots() {
  std::string pattern = "/var/tmp/writ-machine-snapshots-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr || ::chmod(pattern.c_str(), 0711) != 0) std::abort();
  dir_ = pattern;
  fs::copy(TestGuestImages() + "/guest-images", dir_ + "/guest-images",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::create_directory(work_dir());
  if (::chmod(work_dir().c_str(), 0711) != 0) std::abort();
}

MachineSnapshots::~MachineSnapshots() {
  fs::remove_all(dir_);
}

backends::MicrovmBackendOptions MachineSnapshots::Options() const {
  return MachineOptions(dir_);
}

Result<backends::microvm::SnapshotRecord> MachineSnapshots::Build(
    std::vector<std::string> warm_up, std::uint64_t memory_bytes,
    const std::function<void(const std::string&)>& told, unsigned cpus) const {
  const JobFixture fixture;  // for its uid
  backends::SnapshotBuild build;
  build.machines = Options();
  build.memory_bytes = memory_bytes;
  build.cpus = cpus;
  build.warm_up = std::move(warm_up);
  build.identity = fixture.identity();
  build.work_dir = work_dir();
  build.told = told;
  return backends::BuildSnapshot(std::move(build));
}

}  // namespace writ::test
