// Whether a process here may have its memory served by another: what `writ doctor` says of it.
//
// Wanted is a userfaultfd that answers faults of the kernel as well. One that is for user mode only
// (UFFD_USER_MODE_ONLY, all that an ordinary user gets from the system call) will not do: a virtual
// CPU of KVM faults in the kernel, and so does every system call of a VMM that reads or writes
// guest memory - disks under TCG too -, and such a call would get EFAULT for a page that is not
// there yet, which a guest sees as a broken disk.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

// How one is made, in the order that is tried.
enum class UserfaultWay {
  kSyscall,  // userfaultfd(2): root, or vm.unprivileged_userfaultfd is 1
  kDevice,   // USERFAULTFD_IOC_NEW on /dev/userfaultfd (6.1), opened here or handed in
};

struct UserfaultProbe {
  UserfaultWay way = UserfaultWay::kSyscall;
  bool removals = false;  // removed pages are told of (L31): a VMM may give memory back
};

// Changes nothing. `device`: a descriptor of /dev/userfaultfd, or -1 to open it where that is
// needed. kUnsupported "pages.userfaultfd" with cause, and the mend as its hint.
Result<UserfaultProbe> ProbeUserfault(int device = -1);

}  // namespace writ::backends::microvm::pages
