// The last step into the jail that writ-launch has made for a machine: no rights, and no system
// call that no job needs either.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <vector>

#include "writ/base/result.h"

namespace writ::backends::microvm {

// In a user namespace with one id: a namespace of an ordinary id, no capability, no_new_privs, and
// `allow_list` where it is not empty. Everything started later has the same.
Status EnterJail(uid_t uid, gid_t gid, const std::vector<sock_filter>& allow_list);

}  // namespace writ::backends::microvm
