// What of an image a job sees: the entries of its root, each read-only, and room for what the job
// has of its own.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/launch/view_step.h"
#include "writ/base/result.h"

namespace writ::backends {

// `root`: absolute, of the image store. `places`: absolute paths in the container that something
// will be mounted over; directories of the image that lead there are taken apart, so that the place
// can be made. kUnsupported where a link of the image is in the way of one. Targets start with
// "rootfs/". The image's own dev, home, proc, run, sys, tmp, workspace are left out.
Result<std::vector<launch::ViewStep>> ImageView(const std::string& root,
                                                const std::vector<std::string>& places);

}  // namespace writ::backends
