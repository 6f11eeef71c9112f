#include "writ/base/unix_socket.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace writ {
namespace {

constexpr int kBacklog = 16;

Error Cannot(int err) {
  return SysError(err, "base.unix_socket", "cannot use the Unix socket");
}

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path ||
      path.find('\0') != std::string::npos)
    return Cannot(ENAMETOOLONG);
  ::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

std::string SocketPathIn(int dir, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(dir) + "/" + name;
}

Result<UniqueFd> ListenAtUnixPath(const std::string& path, mode_t mode) {
  WRIT_ASSIGN(const sockaddr_un address, AddressOf(path));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Cannot(errno);
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return Cannot(EADDRINUSE);
    UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), generic, sizeof address) == 0 || errno != ECONNREFUSED)
      return Cannot(EADDRINUSE);
    (void)::unlink(path.c_str());
  }
  // Born closed to others, not made so afterwards: mode bits come from the descriptor.
  if (::fchmod(fd.get(), mode) != 0 || ::bind(fd.get(), generic, sizeof address) != 0 ||
      ::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), kBacklog) != 0)
    return Cannot(errno);
  return fd;
}

Result<UniqueFd> ConnectToUnixPath(const std::string& path) {
  WRIT_ASSIGN(const sockaddr_un address, AddressOf(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Cannot(errno);
  return fd;
}

Result<PeerIdentity> PeerOf(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return Cannot(errno);
  return PeerIdentity{peer.uid, peer.pid};
}

}  // namespace writ
