// The suite over the microvm tier.
#include <unistd.h>

#include <memory>
#include <string>

#include "conformance/test_guest_image.h"
#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/conformance/conformance.h"

namespace {

std::unique_ptr<writ::backends::Backend> MakeMachines() {
  writ::backends::MicrovmBackendOptions options;
  options.launched.launcher = writ::test::BinDir() + "/writ-launch";
  options.machine_program = writ::test::BinDir() + "/writ-vm";
  options.images_dir = writ::test::TestGuestImages();
  return writ::backends::MakeMicrovmBackend(std::move(options));
}

}  // namespace

int main(int argc, char** argv) {
  writ::conformance::TestedBackend machines{.name = "microvm", .make = MakeMachines};
  machines.environment = [] {
    return std::vector<std::string>{"WRIT_TEST_IMAGES=" + writ::test::TestImages()};
  };
  machines.times = {.start = std::chrono::seconds(120), .first_word = std::chrono::seconds(5)};
  return writ::conformance::Run(argc, argv,
                                {.programs = writ::test::BinDir(), .backends = {machines}});
}
