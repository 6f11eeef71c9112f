// config.json of the OCI runtime specification 1.1: pure, golden-tested.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/job/host_features.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/sandbox/view_planning.h"

namespace writ::backends {

// A file of the job's own, put over one of the image; or a place that it may write, where the
// runtime looks at mounts in the root as a part of that (gVisor).
struct ConfigBind {
  std::string destination;  // in the container
  std::string source;       // in the staged view
  enum class Access { kReadOnlyFile, kWritableTree } access = Access::kReadOnlyFile;
};

// The container's first process is `writ-launch --inside` (`--inside-own-kernel`) at `launcher`,
// with one capability, which lets it map its uid 0 to the job's uid; where gVisor's kernel is to
// keep entries apart from the job, also with the one to mount in that kernel. The root is what the
// staged view has at /rootfs, read-only but for what is mounted in it. Network and user namespace
// are the ones that the runtime is in. There is no seccomp section: the container's first process
// must still make the job's user namespace, and installs the job's filters - the same as in the
// sandbox tier, notification included where the kernel has it - before the job's program.
// `shared_memory`: of /dev/shm; gVisor's is one of `binds`.
std::string OciConfig(const std::string& launcher, const std::vector<ConfigBind>& binds,
                      launch::ContainerKernel kernel, const MemoryPlace& shared_memory,
                      launch::Entries entries);

}  // namespace writ::backends
