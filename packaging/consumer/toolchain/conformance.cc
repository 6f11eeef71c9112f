// Writ's conformance suite over the backend of this project.
//   toolchain_conformance [googletest's arguments]
// LIBEXEC names libexec/writ of the installation, TOOLCHAIN the folder that jobs are to see.
#include <writ/conformance/conformance.h>

#include <cstdio>
#include <cstdlib>

#include "toolchain_tier.h"

int main(int argc, char** argv) {
  const char* programs = std::getenv("LIBEXEC");
  const char* folder = std::getenv("TOOLCHAIN");
  if (programs == nullptr || folder == nullptr) {
    std::fprintf(stderr, "LIBEXEC and TOOLCHAIN must be set\n");
    return 2;
  }
  const std::string libexec = programs, toolchain = folder;
  auto make = [libexec, toolchain] {
    return example::MakeToolchainBackend({.launched = {.launcher = libexec + "/writ-launch"}},
                                         toolchain);
  };
  if (auto backend = make(); !backend->Probe().usable) {
    std::printf("no jobs can be run here: %s\n", backend->Probe().unusable_reason.c_str());
    return 77;
  }
  return writ::conformance::Run(
      argc, argv,
      {.programs = libexec,
       .backends = {
           {.name = "toolchain", .make = make, .environment = [libexec, toolchain] {
              return std::vector<std::string>{"LIBEXEC=" + libexec, "TOOLCHAIN=" + toolchain};
            }}}});
}
