// The job's seccomp filter, compiled by libseccomp to a BPF program that writ-launch installs.
//
// Refused (rows of tests/hostile hold each): sockets other than TCP over IPv4 and NETLINK_ROUTE,
// socketpairs other than stream and seqpacket (a datagram one can be sent to any host socket),
// listen and accept, MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, IP options (a source route would carry
// bytes elsewhere), io_uring, ptrace and its relatives, namespaces, mounts, keys, BPF, modules,
// System V IPC and message queues (they outlive the job), handing a second listener to a filter of
// the job's own. clone3 and system calls newer than the table are ENOSYS, so libraries fall back.
// NETLINK_ROUTE stays because getifaddrs and os.networkInterfaces need it; an unprivileged
// sender reaches only the kernel with it and can change nothing.
// Another ABI (x32, i386) kills the process.
// connect, bind and the socket kinds worth recording go to the supervisor where `connect` is
// kSupervised. Comparisons of int arguments use the low 32 bits, as the kernel does: high bits hide
// nothing.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

enum class ConnectRule {
  kSupervised,  // USER_NOTIF
  kAllowed,     // no user notification here: advisory only
};

// What the filter keeps the job from, beside the kernel's attack surface.
enum class JobSurroundings {
  kTheHosts,    // sockets, IPC and file names are shared with the host
  kNamespaces,  // of its own: Unix sockets, IPC and servers on loopback are the job's own affair
};

// Thread-safe. kUnsupported where libseccomp or the architecture lacks what is needed.
Result<std::vector<sock_filter>> CompileJobFilter(ConnectRule connect,
                                                  JobSurroundings surroundings);

// Sends connect to the supervisor, so that attempts are recorded, and judges nothing else: for a
// job with namespaces of its own that was granted every system call.
Result<std::vector<sock_filter>> CompileRecordingFilter();

}  // namespace writ::backends
