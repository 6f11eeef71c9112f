// The suite over the container tier on gVisor's kernel.
#include "conformance/job_fixture.h"
#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/conformance/conformance.h"

int main(int argc, char** argv) {
  writ::conformance::TestedBackend gvisor{
      .name = "container_runsc", .make = [] { return writ::test::MakeBackend("container_runsc"); }};
  gvisor.environment = [] {
    return std::vector<std::string>{"WRIT_TEST_IMAGES=" + writ::test::TestImages()};
  };
  gvisor.times = {.start = std::chrono::seconds(5), .first_word = std::chrono::seconds(2)};
  return writ::conformance::Run(argc, argv,
                                {.programs = writ::test::BinDir(), .backends = {gvisor}});
}
