// The OCI runtimes: which one there is, what it calls itself, how it is called.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/job/host_features.h"
#include "writ/backends/launch/launch_plan.h"

namespace writ::backends {

// `wanted`: "" for the first of crun, runc and runsc in the system's program folders, a name, or a
// path. Fills everything but `usable`, which needs a container. `reason` is empty where it may
// work.
RuntimeFeatures FindRuntime(const std::string& wanted);

// The last word of the first line of `--version`: "1.8.1" of "crun version 1.8.1"; "" for other
// text.
std::string ParseRuntimeVersion(std::string_view output, std::string_view name);

// Where the staged view has the runtime, its state and the bundle.
inline constexpr char kRuntimePlace[] = "runtime/oci";
inline constexpr char kBundlePlace[] = "bundle";

// The command line for the staged view; `descriptors` from 3 on are handed through.
std::vector<std::string> RuntimeCommand(const RuntimeFeatures& runtime, const std::string& id,
                                        int descriptors);

launch::ContainerKernel KernelOf(const RuntimeFeatures& runtime);

// Bytes below which the runtime does not come up within the job's memory.
std::uint64_t RuntimeMemory(const RuntimeFeatures& runtime);

// Tasks that the runtime and the two init processes are at most.
std::uint64_t RuntimeTasks(const RuntimeFeatures& runtime);

}  // namespace writ::backends
