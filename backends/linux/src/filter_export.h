// A filter of libseccomp as the program that the kernel takes.
#pragma once

#include <linux/filter.h>

#include <memory>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

// `context`: a scmp_filter_ctx, borrowed.
Result<std::vector<sock_filter>> ExportFilter(void* context);

}  // namespace writ::backends
