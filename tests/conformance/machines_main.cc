// The suite over the microvm tier; with WRIT_TEST_RESTORED=1 over machines that start from a
// snapshot, where a job has no limit of memory of its own.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/machine_snapshots.h"
#include "conformance/test_guest_image.h"
#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/conformance/conformance.h"

namespace {

// Where the machines' images are, and their snapshots: told to processes that are started again.
constexpr char kImages[] = "WRIT_TEST_MACHINE_IMAGES";

std::string Images() {
  const char* given = std::getenv(kImages);
  return given != nullptr ? given : writ::test::TestGuestImages();
}

std::unique_ptr<writ::backends::Backend> MakeMachines() {
  return writ::backends::MakeMicrovmBackend(writ::test::MachineOptions(Images()));
}

bool Asks(int argc, char** argv, std::string_view for_what) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]).starts_with(for_what)) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  std::unique_ptr<writ::test::MachineSnapshots> snapshots;
  const bool runs = !Asks(argc, argv, "--one-job") && !Asks(argc, argv, "--gtest_list_tests");
  if (std::getenv("WRIT_TEST_RESTORED") != nullptr && runs) {
    snapshots = std::make_unique<writ::test::MachineSnapshots>();
    if (auto made = snapshots->Build({}); !made) {
      std::fprintf(stderr, "no snapshot: %s\n", made.error().ToString().c_str());
      return 1;
    }
    ::setenv(kImages, snapshots->dir().c_str(), 1);
  }
  writ::conformance::TestedBackend machines{.name = "microvm", .make = MakeMachines};
  machines.environment = [] {
    return std::vector<std::string>{"WRIT_TEST_IMAGES=" + writ::test::TestImages(),
                                    kImages + ("=" + Images())};
  };
  machines.times = {.start = std::chrono::seconds(120), .first_word = std::chrono::seconds(5)};
  return writ::conformance::Run(argc, argv,
                                {.programs = writ::test::BinDir(), .backends = {machines}});
}
