// The suite over every backend of this tree.
#include "conformance/job_fixture.h"
#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/conformance/conformance.h"

namespace {

using writ::conformance::TestedBackend;
using writ::conformance::View;
using writ::conformance::Workspaces;

TestedBackend Own(const std::string& name) {
  TestedBackend tested{.name = name, .make = [name] { return writ::test::MakeBackend(name); }};
  if (name == "process") {
    tested.view = View::kHost;
    tested.workspaces = Workspaces::kPlain;
  }
  if (name.starts_with("container"))
    tested.environment = [] {
      return std::vector<std::string>{"WRIT_TEST_IMAGES=" + writ::test::TestImages()};
    };
  return tested;
}

}  // namespace

int main(int argc, char** argv) {
  return writ::conformance::Run(
      argc, argv,
      {.programs = writ::test::BinDir(),
       .backends = {Own("process"), Own("sandbox"), Own("container"), Own("container_runc")}});
}
