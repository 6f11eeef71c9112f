// Unix sockets with a name in the file system.
#pragma once

#include <sys/types.h>

#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

// `name` in an open directory, as a path that is short whatever the directory's is.
std::string SocketPathIn(int dir, const std::string& name);

// A listening stream socket, O_NONBLOCK, born with `mode`. One that nobody serves any more is
// replaced; anything else in its place is EADDRINUSE.
Result<UniqueFd> ListenAtUnixPath(const std::string& path, mode_t mode);
// ENOENT and ECONNREFUSED: nobody serves it.
Result<UniqueFd> ConnectToUnixPath(const std::string& path);

// The uid and pid of whoever is at the other end, as the kernel saw it connect.
struct PeerIdentity {
  uid_t uid = 0;
  pid_t pid = 0;
};
Result<PeerIdentity> PeerOf(int socket);

}  // namespace writ
