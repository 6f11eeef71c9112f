// The view that the OCI runtime runs in: its programs and libraries of the host, memory for its
// state, the bundle, and at /rootfs what the job will see.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/job/host_features.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/plan.h"
#include "writ/backends/sandbox/view_planning.h"

namespace writ::backends {

// Of the image's root in the view.
inline constexpr char kImagePlace[] = "rootfs/";

// `job_view`: the job's own steps, as the sandbox tier plans them, without the system's.
// `root_view`: ImageView. `shared_memory`: the size of /dev/shm. `entries`: whether there may be
// any.
std::vector<launch::ViewStep> StagedView(const HostFeatures& features, const std::string& launcher,
                                         const std::vector<launch::ViewStep>& root_view,
                                         const std::vector<launch::ViewStep>& job_view,
                                         const MemoryPlace& shared_memory, launch::Entries entries);

}  // namespace writ::backends
