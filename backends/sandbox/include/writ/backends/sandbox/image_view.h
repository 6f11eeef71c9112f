// What of an image a job sees: the entries of its root, each read-only, and room for what the job
// has of its own.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/launch/view_step.h"
#include "writ/backends/tier.h"
#include "writ/base/result.h"

namespace writ::backends {

// Where in the view the image's root is: "" for the view's own root, else like "rootfs/".
struct ImagePlace {
  Tier tier = Tier::kSandbox;  // whose refusals they are
  std::string below;
};

// `root`: absolute, of the image store. `places`: absolute paths in the job's view that something
// will be mounted over; directories of the image that lead there are taken apart, so that the place
// can be made. kUnsupported where a link of the image is in the way of one. The image's own dev,
// home, proc, run, sys, tmp, workspace are left out.
Result<std::vector<launch::ViewStep>> ImageView(const ImagePlace& at, const std::string& root,
                                                const std::vector<std::string>& places);

}  // namespace writ::backends
