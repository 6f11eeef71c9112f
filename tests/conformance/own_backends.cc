// The backends of this tree, with the programs of this build.
#include <unistd.h>

#include <cstdlib>

#include "conformance/job_fixture.h"
#include "conformance/test_image.h"
#include "support/places.h"
#include "writ/backends/container/container_backend.h"
#include "writ/backends/process_backend.h"
#include "writ/backends/sandbox_backend.h"

namespace writ::test {

std::unique_ptr<backends::Backend> MakeBackend(const std::string& name) {
  backends::LaunchedOptions options{.launcher = BinDir() + "/writ-launch"};
  if (name == "process") return backends::MakeProcessBackend(std::move(options));
  if (name == "sandbox") return backends::MakeSandboxBackend({.launched = std::move(options)});
  if (name == "sandbox_image")
    return backends::MakeSandboxBackend(
        {.launched = std::move(options), .images_dir = TestImages(), .default_image = "host"});
  if (name.starts_with("container")) {
    backends::ContainerBackendOptions container;
    container.launched = std::move(options);
    container.runtime = name == "container_runc"    ? "runc"
                        : name == "container_runsc" ? "runsc"
                                                    : "crun";
    container.images_dir = TestImages();
    container.default_image = name == "container_runsc" ? "gvisor" : "host";
    return backends::MakeContainerBackend(std::move(container));
  }
  std::abort();
}

std::string WhyNoJobs(const std::string& backend) {
  if (::access((BinDir() + "/writ-launch").c_str(), X_OK) != 0)
    return "writ-launch is not built or cannot be reached";
  return MakeBackend(backend)->Probe().unusable_reason;
}

}  // namespace writ::test
