// What writ-pages gives up before it serves anybody.
#pragma once

#include <optional>

#include "writ/backends/microvm/pages/page_server.h"
#include "writ/base/result.h"

namespace writ::backends::microvm::pages {

// Single-threaded. In this order: descriptors but 0, 1, 2 and `kept`; core dumps, files longer than
// a working set, being traced by its own uid; the uid (of root: `identity`; of another user: it
// must hold no capability); the right to gain any (no_new_privs); every system call that serving
// does not need. No exec and no new descriptor of a network, a device or a userfaultfd after that.
Status ShedAll(int kept, const std::optional<ServerIdentity>& identity);

}  // namespace writ::backends::microvm::pages
