// Whether this process may make a user namespace, found by making one that ends at once.
#pragma once

#include "writ/base/result.h"

namespace writ::backends {

// kDenied "userns.refused" with the errno: switched off (user.max_user_namespaces, an LSM's rule, a
// seccomp filter around us) or not in the kernel. What it may then do inside is not looked at.
Status ProbeUserNamespace();

}  // namespace writ::backends
